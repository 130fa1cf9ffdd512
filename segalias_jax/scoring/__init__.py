"""Maps of class ids of any origin, scored on the host: folders, reports, comparisons."""
