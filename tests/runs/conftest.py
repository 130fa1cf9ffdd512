"""A stand-in for a network."""

from small_models import *  # noqa: F403
