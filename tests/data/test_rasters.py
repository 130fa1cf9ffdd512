"""TIFF and BMP maps of every kind: what is stored is what is read."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from segalias_jax.data.maps import map_size, read_map
from segalias_jax.data.palettes import Palette
from segalias_jax.errors import InputError
from tests.data.test_raster_headers import tiff

IDS = (np.arange(35, dtype=np.uint8) % 7).reshape(5, 7)
COLORS = np.asarray([(9 * i, 200 - i, 40) for i in range(7)], np.uint8)
PALETTE = Palette(tuple((tuple(c), i) for i, c in enumerate(COLORS.tolist())))


@pytest.mark.parametrize("packing", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("end", [".tif", ".TIFF"])
def test_tiff_gives_what_is_stored(tmp_path, packing, end):
    path = tmp_path / f"a{end}"
    for ids in (IDS, IDS.astype(np.uint16) * 300, IDS.astype(np.int32) * 70000, IDS % 2 > 0):
        Image.fromarray(ids).save(path, "TIFF", compression=packing)
        assert map_size(path) == (5, 7)
        np.testing.assert_array_equal(read_map(path), ids)
    image = Image.fromarray(IDS)
    image.putpalette(COLORS.tobytes())
    image.save(path, "TIFF", compression=packing)
    np.testing.assert_array_equal(read_map(path), IDS)
    np.testing.assert_array_equal(read_map(path, colors=PALETTE), IDS)
    Image.fromarray(COLORS[IDS]).save(path, "TIFF", compression=packing)
    np.testing.assert_array_equal(read_map(path, colors=PALETTE), IDS)
    with pytest.raises(InputError, match="has 3 channels, not one .*--colors"):
        read_map(path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("order, big", [("<", False), (">", False), ("<", True)])
def test_tiff_of_every_depth(tmp_path, bits, order, big):
    ids = IDS & np.uint8(min(255, 2**bits - 1))
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(ids, bits=bits, order=order, big=big))
    np.testing.assert_array_equal(read_map(path), ids)


def test_first_image_of_a_pyramid_is_the_map(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(IDS, pages=(0, 1)))
    np.testing.assert_array_equal(read_map(path), IDS)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_bmp_gives_indices(tmp_path, bits):
    ids, path = IDS & np.uint8(2**bits - 1), tmp_path / "a.bmp"
    count = 2 ** min(bits, 8)
    colors = np.zeros((count, 4), np.uint8)
    colors[: min(count, 7), :3] = COLORS[: min(count, 7), ::-1]
    rows = np.packbits(
        np.unpackbits(ids[..., None], axis=-1)[..., 8 - bits :].reshape(5, -1), axis=-1
    )
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    for height, content in ((5, rows[::-1]), (-5, rows)):
        head = struct.pack("<IiiHHIIiiII", 40, 7, height, 1, bits, 0, 0, 0, 0, count, 0)
        start = 14 + len(head) + colors.nbytes
        path.write_bytes(
            b"BM"
            + struct.pack("<IHHI", 0, 0, 0, start)
            + head
            + colors.tobytes()
            + content.tobytes()
        )
        np.testing.assert_array_equal(read_map(path), ids)
        np.testing.assert_array_equal(read_map(path, colors=PALETTE), ids)
        assert map_size(path) == (5, 7)


@pytest.mark.parametrize("channels", [3, 4])
def test_bmp_of_colors(tmp_path, channels):
    image = np.full((5, 7, channels), 255, np.uint8)
    image[..., :3] = COLORS[IDS][..., ::-1]
    assert cv2.imwrite(str(tmp_path / "a.bmp"), image)
    np.testing.assert_array_equal(read_map(tmp_path / "a.bmp", colors=PALETTE), IDS)
    with pytest.raises(InputError, match=f"has {channels} channels"):
        read_map(tmp_path / "a.bmp")


def test_gray_bmp_holds_ids_even_beside_colors(tmp_path):
    cv2.imwrite(str(tmp_path / "a.bmp"), IDS)
    np.testing.assert_array_equal(read_map(tmp_path / "a.bmp", colors=PALETTE), IDS)


@pytest.mark.parametrize(
    "data, message",
    [
        (tiff(IDS, pages=(0, 0)), "a.tif: the image holds 2 images, and a map is one"),
        (tiff(IDS, bits=32, tags={339: 3}), "a.tif: a map holds integers, this image float"),
        (tiff(IDS, tags={256: 40000, 257: 40000}), "claims|truncated, .* bytes cannot hold 40000x"),
        (tiff(IDS, tags={256: 0}), "has 0x5 pixels, which is nothing to score"),
        (tiff(IDS)[:80], "a.tif: the file is truncated"),
        (b"\x89PNG\r\n\x1a\n", "a.tif: not a TIFF image, whatever its name says"),
        (b"", "a.tif: not a TIFF image"),
    ],
)
def test_unusable_tiff_is_named(tmp_path, data, message):
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_map(path)


def test_damaged_tiff_is_named(tmp_path):
    path = tmp_path / "a.tif"
    ids = np.random.default_rng(0).integers(0, 9, (90, 70)).astype(np.uint8)
    Image.fromarray(ids).save(path, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    data[200:2000] = bytes(1800)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.tif: the file is damaged"):
        read_map(path)
