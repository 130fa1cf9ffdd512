"""Archives that are read in place, by threads, and those that are refused."""

import io
import os
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from segalias_jax.data import archives, maps
from segalias_jax.data.archives import archived_files
from segalias_jax.data.files import image_size, read_image
from segalias_jax.data.maps import MAX_PIXELS, map_size, read_map
from segalias_jax.errors import InputError

KINDS = ("a.zip", "a.tar", "a.tar.gz", "a.tgz")


def pack(path, files):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    with tarfile.open(path, "w:" if path.suffix == ".tar" else "w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def npy(ids):
    stream = io.BytesIO()
    np.save(stream, ids)
    return stream.getvalue()


@pytest.mark.parametrize("kept", [0, 1 << 23])
@pytest.mark.parametrize("kind", KINDS)
def test_files_are_read_in_any_order_and_by_threads(tmp_path, monkeypatch, kind, kept):
    monkeypatch.setattr(archives, "_SPACING", 1 << 14)
    monkeypatch.setattr(archives, "_KEPT", kept)
    monkeypatch.setattr(archives, "_POINTS", 8)  # some are dropped again
    rng = np.random.default_rng(0)
    files = {
        f"d/{'x' * (1 + 40 * (i % 4))}/{i}.bin": rng.integers(
            0, 9 + i, 9000 + i, np.uint8
        ).tobytes()
        for i in range(60)
    }
    path = pack(tmp_path / kind, files)
    found = archived_files(path)
    assert [p.relative_to(path).as_posix() for p in found] == sorted(files)
    order = rng.permutation(60)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda i: found[i].read_bytes(), order))
    for i, data in zip(order, read, strict=True):
        assert data == files[found[i].relative_to(path).as_posix()]
        assert found[i].stat().st_size == len(data)
    with found[3].open() as file:
        data = files[found[3].relative_to(path).as_posix()]
        file.seek(-5, os.SEEK_END)
        assert file.read() == data[-5:] and file.seek(7) == file.tell() == 7
        assert file.read(3) == data[7:10]
    assert not list(tmp_path.glob("*/")) and len(list(tmp_path.iterdir())) == 1


def test_gzip_files_one_after_another_are_one(tmp_path):
    import gzip

    pack(tmp_path / "a.tar", {"a": b"1" * 5000, "b": b"2" * 5000})
    data = (tmp_path / "a.tar").read_bytes()
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(data[:3000]) + gzip.compress(data[3000:]) + bytes(100))
    assert [p.read_bytes() for p in archived_files(path)] == [b"1" * 5000, b"2" * 5000]


@pytest.mark.parametrize("kind", KINDS)
def test_maps_and_images_in_archives(tmp_path, kind):
    import cv2

    ids = np.arange(35, dtype=np.uint8).reshape(5, 7)
    files = {"a.npy": npy(ids.astype(np.int64)), "b.npz": b""}
    for end in (".png", ".tif", ".bmp"):
        files["c" + end] = cv2.imencode(end, ids)[1].tobytes()
    stream = io.BytesIO()
    np.savez_compressed(stream, ids)
    files["b.npz"] = stream.getvalue()
    for path in archived_files(pack(tmp_path / kind, files)):
        assert map_size(path) == (5, 7)
        np.testing.assert_array_equal(read_map(path), ids)
    assert image_size(archived_files(tmp_path / kind)[3]) == (5, 7)
    np.testing.assert_array_equal(read_image(archived_files(tmp_path / kind)[3])[..., 0], ids)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["../a.png", "b/../../a.png", "/etc/a.png"])
def test_names_outside_of_the_archive_are_refused(tmp_path, kind, name):
    path = pack(tmp_path / kind, {name: b""})
    with pytest.raises(InputError, match=r"a\..*: names the file '.*a.png', outside of itself"):
        archived_files(path)


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_archives_are_named(tmp_path, kind):
    rng = np.random.default_rng(1)
    path = pack(tmp_path / kind, {"a.bin": rng.integers(0, 99, 30000, np.uint8).tobytes()})
    _cut(path)
    try:  # of a tar, the header of the file may be whole
        (file,) = archived_files(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: not a whole ")
    else:
        with pytest.raises(OSError, match="ends too early"):
            file.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(InputError, match="not a whole "):
        archived_files(path)


def test_what_a_member_lacks_is_said_when_it_is_read(tmp_path):
    path = pack(tmp_path / "a.zip", {"a.png": bytes(range(256)) * 9})
    data = bytearray(path.read_bytes())
    data[45:60] = bytes(15)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.zip/a\.png: cannot be read \("):
        read_map(archived_files(path)[0])
    data = bytearray(pack(tmp_path / "b.zip", {"a.png": b"text"}).read_bytes())
    data[6] |= 1  # says that a password is needed
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png: cannot be read \(.*password"):
        read_map(archived_files(tmp_path / "b.zip")[0])
    with tarfile.open(tmp_path / "c.tar", "w") as archive:
        entry = tarfile.TarInfo("a.png")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(InputError, match=r"a\.png: cannot be read \(a link"):
        read_map(archived_files(tmp_path / "c.tar")[0])


@pytest.mark.parametrize("kind", KINDS)
def test_bombs_are_refused_by_what_they_claim(tmp_path, monkeypatch, kind):
    import cv2

    monkeypatch.setattr(maps, "_BESIDE", 1 << 20)
    png = bytearray(cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes())
    large = png[:16] + (40000).to_bytes(4, "big") * 2 + png[24:]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (30000, 30000)}
    )
    files = {
        "a.png": bytes(large),
        "b.npy": header.getvalue(),
        "c.png": bytes(png) + bytes(1 << 21),
    }
    found = archived_files(pack(tmp_path / kind, files))
    for path, message in zip(
        found,
        (f"claims 40000x40000 pixels, more than the {MAX_PIXELS}", "cannot hold uint8", "far more"),
        strict=True,
    ):
        with pytest.raises(InputError, match=f"{path.name}: .*{message}"):
            read_map(path)
