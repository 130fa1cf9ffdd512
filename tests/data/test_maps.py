"""Maps of class ids: kinds of files that hold them, and files that do not."""

import itertools
import struct
import zlib

import cv2
import numpy as np
import pytest

from segalias_jax.data import maps
from segalias_jax.data.maps import map_size, read_map
from segalias_jax.errors import InputError

IDS = (np.arange(35, dtype=np.uint8) % 7).reshape(5, 7)


def _png(path, ids, *, depth=8, color=0, palette=b"", size=None):
    """A PNG by hand, so that depth and kind are what the test says."""
    height, width = size or ids.shape
    bits = np.unpackbits(ids[..., None], axis=-1)[..., 8 - depth :].reshape(len(ids), -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(bits, axis=-1))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))]
    chunks += [(b"PLTE", palette)] if palette else []
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        data += struct.pack(">I", len(body)) + name + body
        data += struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("palette", [b"", bytes(range(200, 230))])
def test_gray_and_palette_png_give_what_is_stored(tmp_path, depth, palette):
    ids = IDS & np.uint8(2**depth - 1)
    colors = palette[: 3 * 2**depth]
    path = _png(tmp_path / "a.png", ids, depth=depth, color=3 if palette else 0, palette=colors)
    assert map_size(path) == (5, 7)
    np.testing.assert_array_equal(read_map(path), ids)


def test_label_that_claims_too_many_pixels_is_named(tmp_path):
    path = _png(tmp_path / "a.png", IDS, size=(2**16, 2**16))
    with pytest.raises(InputError, match="a.png: the file is damaged and cannot be decoded"):
        maps.decode_png_map(path.read_bytes(), path)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.int64, np.uint16])
def test_npy_gives_what_is_stored(tmp_path, dtype):
    np.save(tmp_path / "a.npy", IDS.astype(dtype))
    np.testing.assert_array_equal(read_map(tmp_path / "a.npy"), IDS.astype(dtype))


def _write(path, array):
    assert cv2.imwrite(str(path), array)


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda p: _write(p, np.zeros((5, 7, 3), np.uint8)),
            r"is RGB, not a map of class ids; say which colors .* \(--colors\), or save",
        ),
        (lambda p: _write(p, np.zeros((5, 7, 4), np.uint8)), "is RGBA, not a map"),
        (lambda p: p.write_bytes(b""), "the file is empty"),
        (lambda p: _png(p, IDS, size=(0, 7)), "has 7x0 pixels, which is nothing to score"),
        (lambda p: p.write_bytes(b"hello"), "not a PNG image"),
        (lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n"), "truncated; copy it again"),
        (lambda p: _png(p, IDS, size=(60000, 60000)), "claims 60000x60000 pixels, more than"),
        (lambda p: _png(p, IDS, size=(30000, 30000)), "truncated, .. bytes cannot hold 30000x"),
    ],
)
def test_unusable_png_is_named(tmp_path, make, message):
    path = tmp_path / "a.png"
    make(path)
    with pytest.raises(InputError, match=message) as error:
        read_map(path)
    assert str(path) in str(error.value)


def test_cut_and_damaged_png_are_named(tmp_path):
    path = _png(tmp_path / "a.png", np.tile(IDS, (40, 40)))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"a\.png: the file is truncated"):
        read_map(path)
    path.write_bytes(data[:45] + b"\xff" * 40 + data[85:])
    with pytest.raises(InputError, match=r"a\.png: the file is damaged"):
        read_map(path)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((2, 3, 4), np.uint8), "argmax"),
        (np.zeros((2, 3)), "integers, this array float64"),
        (np.asarray([["a"]]), "integers"),
    ],
)
def test_unusable_npy_is_named(tmp_path, array, message):
    path = tmp_path / "a.npy"
    np.save(path, array)
    with pytest.raises(InputError, match=message):
        read_map(path)


def test_cut_and_pickled_npy_are_named(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((40, 40), np.int64))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match="not a whole npy file"):
        read_map(path)
    np.save(path, np.asarray([[{}]]), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy"):
        read_map(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="not a whole npy file"):
        read_map(path)


def _filtered(path, ids, kinds):
    """A PNG whose rows are kept by the given filters: 0 as they are, 1 as steps, 2 from above."""
    rows = []
    for row, before, kind in zip(ids, np.pad(ids, ((1, 0), (0, 0))), kinds, strict=False):
        base = {0: 0, 1: np.pad(row, (1, 0))[:-1], 2: before}[kind]
        rows.append(bytes([kind]) + (row - base).astype(np.uint8).tobytes())
    data = _png(path, ids).read_bytes()
    stored = zlib.compress(b"".join(rows))
    content = struct.pack(">I", len(stored)) + b"IDAT" + stored
    content += struct.pack(">I", zlib.crc32(b"IDAT" + stored))
    path.write_bytes(data[:33] + content + data[-12:])


@pytest.mark.parametrize("inflater", ["zlib", "isal.isal_zlib"])
@pytest.mark.parametrize(
    "kinds, quick", [((0,), True), ((1,), True), ((0, 1), False), ((1, 2), False)]
)
def test_rows_with_long_runs_take_the_short_way(tmp_path, monkeypatch, inflater, kinds, quick):
    monkeypatch.setattr(maps, "inflater", pytest.importorskip(inflater))
    ids = np.random.default_rng(0).integers(0, 256, (9, 6)).astype(np.uint8)
    ids = ids.repeat(20, 0).repeat(30, 1)[:, 7:]
    ids[:, -1] = np.arange(180)
    path = tmp_path / "a.png"
    _filtered(path, ids, itertools.cycle(kinds))
    if quick:
        monkeypatch.setattr(maps.cv2, "imdecode", None)
    np.testing.assert_array_equal(read_map(path), ids)
    data = bytearray(path.read_bytes())
    data[-20] ^= 1  # in the checksum
    path.write_bytes(bytes(data))
    monkeypatch.undo()
    with pytest.raises(InputError, match="damaged"):
        read_map(path)


def test_npy_of_the_other_byte_order(tmp_path):
    ids = np.asarray([[1, 258]], ">u2")
    np.save(tmp_path / "a.npy", ids)
    read = read_map(tmp_path / "a.npy")
    assert read.tolist() == [[1, 258]] and read.dtype.isnative
