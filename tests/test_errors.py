"""How commands end."""

import pytest

from segalias_jax.errors import InputError, exiting_on_mistakes


@pytest.mark.parametrize(
    "error, status, told",
    [
        (InputError("a.png: no\nand a note"), 2, "error: a.png: no\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_mistakes_and_interruptions_are_statuses(capsys, error, status, told):
    with pytest.raises(SystemExit) as end, exiting_on_mistakes():
        raise error
    assert end.value.code == status and capsys.readouterr().err == told


def test_what_is_no_mistake_of_the_user_stays_what_it_is():
    with pytest.raises(ValueError, match="ours"), exiting_on_mistakes():
        raise ValueError("ours")
