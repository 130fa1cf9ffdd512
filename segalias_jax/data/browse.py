"""`python -m segalias_jax.data.browse`, which is now `segalias browse`.

The old way is kept for one release.
"""

import sys

if __name__ == "__main__":
    from segalias_jax.cli import main_of_moved

    sys.exit(main_of_moved("browse", "segalias_jax.data.browse"))
