"""A run folder, made without training."""

from run_folders import *  # noqa: F403
