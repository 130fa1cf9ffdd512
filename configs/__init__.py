"""Recipes: each file has `get_config(arg)`, which starts from `base.get_config()`."""
