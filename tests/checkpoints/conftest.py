"""Random state dicts of small networks."""

from random_weights import *  # noqa: F403
