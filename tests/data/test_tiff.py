"""Pixels of TIFF files beside other programs' and by hand."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from segalias_jax.data import tiff


def decoded(data):
    file = io.BytesIO(data)
    return tiff.tiff_pixels(file, tiff.tiff_images(file)[0])


@pytest.mark.parametrize("packing", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("most, length", [(2, 1), (2, 9), (256, 1), (9, 4)])
def test_what_others_wrote(packing, steps, most, length):
    """Noise fills the table of LZW several times; runs make its longest pieces."""
    ids = np.random.default_rng(most).integers(0, most, (150 // length, 200 // length), np.uint8)
    ids = ids.repeat(length, 0).repeat(length, 1)
    for image in (ids, ids.astype(np.uint16) * 257, np.dstack([ids, ids[::-1], 255 - ids])):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "TIFF", compression=packing, tiffinfo={317: steps})
        found = decoded(stream.getvalue())
        np.testing.assert_array_equal(found.reshape(image.shape), image)
        assert found.dtype == image.dtype
    found = decoded(cv2.imencode(".tif", ids)[1].tobytes())
    np.testing.assert_array_equal(found[..., 0], ids)


def test_tiles_and_planes():
    """A tile at the border is whole in the file, and cut in the image."""
    image = np.random.default_rng(0).integers(0, 9, (20, 40, 2), np.uint8)
    padded = np.pad(image, ((0, 12), (0, 8), (0, 0)))
    tiles = [
        padded[y : y + 16, x : x + 16, c].tobytes()
        for c in range(2)
        for y in (0, 16)
        for x in (0, 16, 32)
    ]
    places = [8 + 256 * i for i in range(12)]
    after = 8 + 256 * 12
    known = {256: 40, 257: 20, 258: 8, 259: 1, 277: 2, 284: 2, 322: 16, 323: 16}
    rows = [(tag, 4, 1, value) for tag, value in known.items()]
    rows += [(324, 4, 12, after), (325, 4, 12, after + 48)]
    data = b"II*\0" + struct.pack("<I", after + 96) + b"".join(tiles)
    data += struct.pack("<24I", *places, *[256] * 12)
    data += struct.pack("<H", len(rows)) + b"".join(struct.pack("<HHII", *row) for row in rows)
    np.testing.assert_array_equal(decoded(data + bytes(4)), image)
    short = bytearray(data + bytes(4))
    short[after + 92 : after + 96] = struct.pack("<I", 99)
    with pytest.raises(ValueError, match="99 bytes where 256 are needed"):
        decoded(bytes(short))


@pytest.mark.parametrize("packing", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_damage_is_never_filled(packing):
    """Lost bytes are an error, where OpenCV goes on with zeros."""
    ids = np.random.default_rng(0).integers(0, 9, (60, 70)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(ids).save(stream, "TIFF", compression=packing)
    file = io.BytesIO(stream.getvalue())
    image = tiff.tiff_images(file)[0]
    place, size = image.number(file, 273), image.number(file, 279)
    for cut in (1, size // 2):
        data = bytearray(stream.getvalue())
        data[place + cut : place + size] = b""
        data[place + cut : place + cut] = b"\x80" * (size - cut)  # nothing, in packbits
        with pytest.raises(ValueError):
            decoded(bytes(data))


@pytest.mark.parametrize("data", [b"II*\0", b"II*\0\x08\0\0\0\x01", b"II*\0\x08\0\0\0\xff\xff"])
def test_cut_directories_are_errors(data):
    with pytest.raises(struct.error):
        tiff.tiff_images(io.BytesIO(data))
