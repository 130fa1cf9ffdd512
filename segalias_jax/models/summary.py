"""`python -m segalias_jax.models.summary`, which is now `segalias summary`.

The old way is kept for one release.
"""

import sys

if __name__ == "__main__":
    from segalias_jax.cli import main_of_moved

    sys.exit(main_of_moved("summary", "segalias_jax.models.summary"))
