"""Folders of runs, made without training."""

from detector_runs import *  # noqa: F403
from run_folders import *  # noqa: F403
