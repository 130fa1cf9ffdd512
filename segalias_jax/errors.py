"""The one exception type for mistakes in what a user gave."""


class InputError(ValueError):
    """A mistake in a file, a recipe key or a value that the user gave.

    Its message is one sentence that names the file, key or value and says what to do.
    `train.py` and `eval.py` print it without a traceback and exit with status 2; library
    users can catch it as a `ValueError`.

    Example:
      >>> raise InputError("data.root: no folder 'camvid'; pass --config.data.root=DIR")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data.root: no folder 'camvid'; pass --config.data.root=DIR
    """
