"""Key tables of the encoders, one file for each family."""
