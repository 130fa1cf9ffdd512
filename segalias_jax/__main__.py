"""`python -m segalias_jax`: the command `segalias`, where scripts are not on the path."""

import sys

from segalias_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
