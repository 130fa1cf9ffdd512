import cv2
import numpy as np
import pytest

from segalias_jax.data.files import decode_ids, image_size, read_bytes, read_image
from segalias_jax.errors import InputError


def read_label(path):
    return decode_ids(read_bytes(path), path)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_channels_are_red_green_blue(tmp_path, pixels):
    cv2.imwrite(str(tmp_path / "a.png"), pixels[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_size_is_read_without_decoding(tmp_path, pixels, suffix):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), pixels)
    assert image_size(path) == (20, 30)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("keep", [0, 3, 20, 0.5, 0.9])
def test_truncated_files_are_named(tmp_path, pixels, suffix, keep, capfd):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), pixels)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=rf"a\.{suffix}: .*(truncated|not an image)"):
            read(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "content", [b"", b"this is no image at all, only some text", b"\xff\xd8xx"]
)
@pytest.mark.parametrize("read", [read_image, read_label, image_size])
def test_files_that_are_no_images_are_named(tmp_path, content, read):
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"notes\.png: "):
        read(path)


@pytest.mark.parametrize(
    ("array", "what"),
    [(np.zeros((4, 4, 3), np.uint8), "3 of 8 bits"), (np.zeros((4, 4), np.uint16), "1 of 16 bits")],
)
def test_labels_need_one_8_bit_channel(tmp_path, array, what):
    cv2.imwrite(str(tmp_path / "l.png"), array)
    with pytest.raises(InputError, match=rf"l\.png: .*{what}"):
        read_label(tmp_path / "l.png")


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(InputError, match=tmp_path.name):
        read_image(tmp_path)
