"""PyTorch weights: key tables both ways, files, loading and conversion."""
