"""Random state dicts of small networks."""

from detector_runs import *  # noqa: F403
from random_weights import *  # noqa: F403
