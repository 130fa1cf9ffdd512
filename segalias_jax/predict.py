"""`python -m segalias_jax.predict`, which is now `segalias predict`.

The old way is kept for one release.
"""

import sys

if __name__ == "__main__":
    from segalias_jax.cli import main_of_moved

    sys.exit(main_of_moved("predict", "segalias_jax.predict"))
