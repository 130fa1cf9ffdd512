"""Files that torch writes are read, and all others end in one sentence without running anything."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.torch_weights.files import read_arrays, sha256, write_safetensors

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.num_batches_tracked": torch.tensor(3)}


@pytest.mark.parametrize("wrap", [dict, lambda w: {"state_dict": w, "meta": {"epoch": 3}}])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_in_both_formats(tmp_path, wrap, zipped):
    path = tmp_path / "w.pth"
    torch.save(wrap(WEIGHTS), path, _use_new_zipfile_serialization=zipped)
    arrays = read_arrays(path)
    assert arrays.keys() == WEIGHTS.keys()
    np.testing.assert_array_equal(arrays["a.weight"], WEIGHTS["a.weight"].numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_types_of_numbers(tmp_path, dtype, suffix):
    path, weights = tmp_path / f"w{suffix}", {"a": torch.tensor([1.5, -2.0], dtype=dtype)}
    torch.save(weights, path) if suffix == ".pth" else safetensors.save_file(weights, path)
    array = read_arrays(path)["a"]
    assert array.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    assert array.tolist() == [1.5, -2.0]


def test_safetensors_there_and_back(tmp_path):
    path = tmp_path / "w.safetensors"
    arrays = {"a": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32).T}
    write_safetensors(path, arrays, {"checkpoint": "run"})
    np.testing.assert_array_equal(read_arrays(path)["a"], arrays["a"])
    np.testing.assert_array_equal(safetensors.load_file(path)["a"].numpy(), arrays["a"])
    with pytest.raises(InputError, match="is there already"):
        write_safetensors(path, arrays, {})
    with pytest.raises(InputError, match=r"has to end in \.safetensors"):
        write_safetensors(tmp_path / "w.bin", arrays, {})
    with pytest.raises(InputError, match="cannot write"):
        write_safetensors(tmp_path / "no" / "w.safetensors", arrays, {})


class Payload:
    """A pickle that touches a file when it is loaded without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("writer", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
@pytest.mark.parametrize("nested", [False, True])
def test_code_in_a_pickle_is_not_run(tmp_path, writer, nested):
    path, trace = tmp_path / "w.pth", tmp_path / "trace"
    payload = Payload(trace)
    writer({"state_dict": WEIGHTS, "meta": payload} if nested else payload, path)
    with pytest.raises(InputError, match="no whole PyTorch file of weights alone") as caught:
        read_arrays(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert not trace.exists()


def make_safetensors(path):
    safetensors.save_file({"a": torch.ones(100)}, path)


def make_pickle(path):
    torch.save({"a": torch.ones(100)}, path)


@pytest.mark.parametrize(
    "make, suffix", [(make_safetensors, ".safetensors"), (make_pickle, ".pth")]
)
@pytest.mark.parametrize("kept", [0, 5, 60, 0.9])
def test_truncated_files(tmp_path, make, suffix, kept):
    path = tmp_path / f"w{suffix}"
    make(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept == 0.9 else kept])
    with pytest.raises(InputError, match=f"w{suffix} is no whole"):
        read_arrays(path)


@pytest.mark.parametrize(
    "make, suffix", [(make_safetensors, ".pth"), (make_pickle, ".safetensors")]
)
def test_mislabelled_files(tmp_path, make, suffix):
    path = tmp_path / f"w{suffix}"
    make(path)
    with pytest.raises(InputError, match=f"w{suffix} is no whole"):
        read_arrays(path)


@pytest.mark.parametrize(
    "content", [torch.ones(3), [torch.ones(3)], {}, {"a": 3}, {"state_dict": {"a": "x"}}, {3: 4}]
)
def test_something_else_than_weights(tmp_path, content):
    path = tmp_path / "w.pth"
    torch.save(content, path)
    with pytest.raises(InputError, match="holds no state dict of tensors"):
        read_arrays(path)


def test_tensors_that_are_no_arrays(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.empty(3, device="meta")}, path)
    with pytest.raises(InputError, match="no plain arrays"):
        read_arrays(path)


def test_other_paths(tmp_path):
    for name, message in (("w.onnx", r"is no \.pth"), ("w.pth", "is not there")):
        with pytest.raises(InputError, match=message):
            read_arrays(tmp_path / name)


def test_without_torch(tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    make_pickle(path)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"torch is not installed; .*segalias_jax\[torch\]"):
        read_arrays(path)


def test_digest(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x").startswith("ba7816bf8f01cfea")


def test_changed_bytes_in_an_archive_are_noticed(tmp_path):
    """torch itself reads such a file: it compares no checksum."""
    path = tmp_path / "w.pth"
    torch.save({"a.weight": torch.arange(4096.0)}, path)
    whole = path.read_bytes()
    chance = np.random.default_rng(0)
    start = whole.index(np.arange(8.0, dtype=np.float32).tobytes())
    for place in chance.integers(start, start + 4 * 4096, 10):
        changed = bytearray(whole)
        changed[place] ^= 1 << int(chance.integers(8))
        path.write_bytes(changed)
        torch.load(path, weights_only=True)
        with pytest.raises(InputError, match=r"w.pth is damaged \(the checksum of .* differs\)"):
            read_arrays(path)
