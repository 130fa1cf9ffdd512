"""`python -m segalias_jax.checkpoints.torch_convert`, which is now `segalias convert`.

The old way is kept for one release.
"""

import sys

if __name__ == "__main__":
    from segalias_jax.cli import main_of_moved

    sys.exit(main_of_moved("convert", "segalias_jax.checkpoints.torch_convert"))
