"""Commands on data sets: browse, prepare, and their statistics."""
