"""Headers of TIFF and BMP files made by hand and by OpenCV."""

import io
import struct

import cv2
import numpy as np
import pytest

from segalias_jax.data.raster_headers import bmp_header, tiff_header
from segalias_jax.errors import InputError


def tiff(ids, *, bits=8, order="<", big=False, pages=(0,), tags=(), content=None):
    """A TIFF without compression; `pages` are the kinds of its images."""
    height, width = ids.shape
    if content is None:
        content = ids.astype(f"{order}u{max(1, bits // 8)}").tobytes()
        if bits < 8:
            spread = np.unpackbits(ids[..., None], axis=-1)[..., 8 - bits :].reshape(height, -1)
            content = np.packbits(spread, axis=-1).tobytes()
    start = {("<", False): b"II*\0", (">", False): b"MM\0*", ("<", True): b"II+\0"}[order, big]
    head = 16 if big else 8
    place = head + len(content) + len(content) % 2
    data = start + (struct.pack("<HHQ", 8, 0, place) if big else struct.pack(order + "I", place))
    data += content + bytes(len(content) % 2)
    for i, kind in enumerate(pages):
        known = {254: kind, 256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: head}
        known |= {277: 1, 278: height, 279: len(content), **dict(tags)}
        form = order + ("HHQQ" if big else "HHII")
        data += struct.pack(order + ("Q" if big else "H"), len(known))
        for tag, value in sorted(known.items()):
            short = struct.pack(order + "H", value) if tag in (258, 259, 262) else b""
            if short:
                data += struct.pack(form[:-1], tag, 3, 1) + short.ljust(8 if big else 4, b"\0")
            else:
                data += struct.pack(form, tag, 4, 1, value)
        following = len(data) + (8 if big else 4) if i + 1 < len(pages) else 0
        data += struct.pack(order + ("Q" if big else "I"), following)
    return data


IDS = (np.arange(35, dtype=np.uint8) % 2).reshape(5, 7)


@pytest.mark.parametrize("order, big", [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 32])
def test_tiff_of_every_order_and_depth(order, big, bits):
    data = tiff(IDS, order=order, big=big, bits=bits)
    header = tiff_header(io.BytesIO(data))
    assert header[:5] == (7, 5, bits, 1, "unsigned") and not header.note
    assert header.least == 35 * bits // 8


@pytest.mark.parametrize(
    "more, note",
    [
        ({"pages": (0, 0)}, "holds 2 images, and a map is one"),
        ({"pages": (0, 1, 4)}, ""),  # a smaller copy, and a mask
        ({"tags": {274: 6}}, "is to be turned"),
        ({"tags": {262: 0}}, "0 is white"),
    ],
)
def test_what_makes_a_tiff_no_map(more, note):
    found = tiff_header(io.BytesIO(tiff(IDS, **more))).note
    assert note in found if note else not found


def test_kinds_of_numbers():
    for kind, name in ((2, "signed"), (3, "float"), (6, "unknown numbers")):
        assert tiff_header(io.BytesIO(tiff(IDS, tags={339: kind}))).numbers == name


@pytest.mark.parametrize("size", [8, 12, 60])
def test_cut_headers_are_named(size):
    with pytest.raises(InputError, match="truncated"):
        tiff_header(io.BytesIO(tiff(IDS)[:size]))
    with pytest.raises(InputError, match="not a TIFF"):
        tiff_header(io.BytesIO(b"text"))
    bmp = cv2.imencode(".bmp", IDS)[1].tobytes()
    with pytest.raises(InputError, match="truncated" if size < 54 else "not a BMP"):
        bmp_header(io.BytesIO(bmp[:size] if size < 54 else b"text"))


def test_a_circle_of_directories_ends():
    data = bytearray(tiff(IDS))
    place = struct.unpack("<I", data[4:8])[0]
    data[-4:] = struct.pack("<I", place)
    assert tiff_header(io.BytesIO(data)).note == ""


def test_bmp_directions_and_kinds():
    data = bytearray(cv2.imencode(".bmp", IDS)[1].tobytes())
    assert bmp_header(io.BytesIO(data))[:4] == (7, 5, 8, 1)
    assert bmp_header(io.BytesIO(data)).upward
    data[22:26] = struct.pack("<i", -5)
    header = bmp_header(io.BytesIO(data))
    assert header.height == 5 and not header.upward
    data[30] = 1
    assert "compressed BMP" in bmp_header(io.BytesIO(data)).note
