"""A recipe at work: from its keys to a trained, scored and reported network."""
