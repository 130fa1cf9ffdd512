"""npy and npz files, and those that claim more than they hold."""

import zipfile

import numpy as np
import pytest

from segalias_jax.data.array_files import array_header, read_array
from segalias_jax.data.maps import map_size, read_map
from segalias_jax.errors import InputError

IDS = np.arange(35, dtype=np.int16).reshape(5, 7)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_single_array_needs_no_key(tmp_path, save):
    save(tmp_path / "a.npz", IDS)
    assert array_header(tmp_path / "a.npz") == ((5, 7), IDS.dtype)
    assert map_size(tmp_path / "a.npz") == (5, 7)
    np.testing.assert_array_equal(read_map(tmp_path / "a.npz"), IDS)


def test_one_of_several_arrays_is_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, image=np.zeros((5, 7, 3)), ids=IDS)
    np.testing.assert_array_equal(read_map(path, key="ids"), IDS)
    with pytest.raises(InputError, match=r"a.npz: holds 2 arrays \(image, ids\); say which one"):
        read_map(path)
    with pytest.raises(InputError, match="has no array 'map'; it holds image, ids"):
        read_map(path, key="map")
    with pytest.raises(InputError, match=r"this array has shape \(5, 7, 3\)"):
        read_map(path, key="image")


def test_fortran_order_and_both_byte_orders(tmp_path):
    for ids in (np.asfortranarray(IDS), IDS.astype(">i4")):
        np.save(tmp_path / "a.npy", ids)
        np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), IDS)


def _claims(shape):
    return {"descr": "<i8", "fortran_order": False, "shape": shape}


def test_what_cannot_be_there_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, _claims((30000, 30000)))
    with pytest.raises(InputError, match=r"not a whole npz file \(.* cannot hold int64 of shape"):
        read_map(path)
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, _claims((-5, 7)))
        file.write(bytes(500))
    with pytest.raises(InputError, match="a.npy"):
        read_map(tmp_path / "a.npy")
    path.write_bytes(b"text")
    with pytest.raises(InputError, match="not a whole npz file"):
        read_map(path)
    np.savez(path, np.asarray([[{}]]))
    with pytest.raises(InputError, match="a map holds integers, this array object"):
        read_map(path)
