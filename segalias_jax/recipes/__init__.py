"""Recipes by name, `segalias train --config NAME[:VARIANT]`: what each trains, and how well."""
