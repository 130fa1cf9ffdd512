"""The page of a report and that of a comparison: what they show, and their style and script."""
