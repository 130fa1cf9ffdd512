"""`python -m segalias_jax.data.prepare`, which is now `segalias prepare`.

The old way is kept for one release.
"""

import sys

if __name__ == "__main__":
    from segalias_jax.cli import main_of_moved

    sys.exit(main_of_moved("prepare", "segalias_jax.data.prepare"))
