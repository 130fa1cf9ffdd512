import logging
import sys
from types import SimpleNamespace

from absl import logging as absl_logging

from segalias_jax.checkpoints.library_log import hold_back


def test_only_the_library_is_held_back(capsys):
    hold_back()
    logger = absl_logging.get_absl_logger()
    for path, shown in (("/x/orbax/checkpoint/a.py", False), ("/x/grain/a.py", True)):
        record = logging.LogRecord("absl", logging.ERROR, path, 1, "m", (), None)
        assert bool(logger.filter(record)) == shown
    for text, shown in (("Event loop is closed", False), ("another one", True)):
        try:
            raise RuntimeError(text)
        except RuntimeError as error:
            what = SimpleNamespace(exc_type=type(error), exc_value=error, err_msg=None, object=None)
            what.exc_traceback = error.__traceback__
            sys.excepthook(type(error), error, error.__traceback__)
        assert (text in capsys.readouterr().err) == shown
