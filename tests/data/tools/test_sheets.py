import numpy as np
import pytest

from segalias_jax.data.tools import sheets
from segalias_jax.errors import InputError


def test_pictures_stand_in_rows_of_four_below_their_names():
    pictures = [(f"{k}", np.full((10 + k, 20, 3), 40 * k, np.uint8)) for k in range(5)]
    sheet = sheets.picture_sheet(pictures, cell=20)
    top = 14 + 24
    for k in range(4):
        left = 14 + k * 34
        assert (sheet[top : top + 10 + k, left : left + 20] == 40 * k).all()
    # The first row is as high as its highest picture.
    below = top + 13 + 14 + 24
    assert (sheet[below : below + 14, 14:34] == 160).all()
    assert sheet.shape == (below + 14 + 14, 14 + 4 * 34, 3)
    assert (sheet[14:top, 14:34] < 255).any()  # the name


@pytest.mark.parametrize(("total", "count"), [(5, 9), (5, 5), (100, 3), (1, 1)])
def test_indices_are_spread_evenly(total, count):
    indices = sheets.spread(total, count)
    assert len(indices) == min(total, count) == len(set(indices))
    assert indices[0] == 0 and indices[-1] == (total - 1 if len(indices) > 1 else 0)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        sheets.write(tmp_path / "file" / "a.png", b"")
