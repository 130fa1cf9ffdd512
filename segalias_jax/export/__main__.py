"""`python -m segalias_jax.export`, which is now `segalias export`.

The old way is kept for one release.
"""

import sys

if __name__ == "__main__":
    from segalias_jax.cli import main_of_moved

    sys.exit(main_of_moved("export", "segalias_jax.export"))
