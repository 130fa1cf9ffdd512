"""What a model costs and where it downsamples, read from its program."""
