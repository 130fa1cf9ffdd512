"""Files of PyTorch weights: `.pth`, `.pt` and `.bin` through torch, `.safetensors` through numpy.

Pickles are read with `weights_only`, which refuses everything but tensors and plain containers:
no file runs code here. torch and safetensors are imported when a file needs them.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.files import remove_left, write_parts

_PICKLES = (".pth", ".pt", ".bin")
_SAFETENSORS = ".safetensors"
ENDINGS = (*_PICKLES, _SAFETENSORS)
"""Of all files that are read."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads all weights of a file.

    Args:
      path: a `.pth`, `.pt`, `.bin` or `.safetensors` file; pickles may hold the weights themselves
        or under "state_dict" or "model".

    Returns:
      Arrays by name, 16-bit floats as float32.

    Raises:
      InputError: no such file, another kind of file, a damaged one, one that needs code to be
        run, or one that holds something else than named arrays.

    Example:
      >>> read_arrays(Path("weights.onnx"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: weights.onnx is no .pth, .pt, .bin or .safetensors file
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise InputError(f"{path} is no .pth, .pt, .bin or .safetensors file")
    if not path.is_file():
        raise InputError(f"{path} is not there; give the path of a weights file")
    return _read_safetensors(path) if path.suffix == _SAFETENSORS else _read_pickle(path)


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray], notes: dict[str, str]) -> None:
    """Writes weights; the file is whole or absent.

    Args:
      path: the file, which must not exist yet.
      arrays: by name.
      notes: what else the file's header says.

    Raises:
      InputError: another ending, a file that is there, or a folder that cannot be written.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "weights.safetensors"
      >>> write_safetensors(path, {"fc.bias": np.zeros(2, np.float32)}, {})
      >>> read_arrays(path)
      {'fc.bias': array([0., 0.], dtype=float32)}
    """
    path = Path(path)
    if path.suffix != _SAFETENSORS:
        raise InputError(f"{path} has to end in .safetensors")
    if path.exists():
        raise InputError(f"{path} is there already; give another file")
    from_numpy = _import("safetensors.numpy")
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    data = from_numpy.save(whole, metadata={"format": "pt", **notes})
    try:
        remove_left(path.parent, path.name)
        write_parts(path, _with_notes_in_order(data))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def _with_notes_in_order(data: bytes) -> tuple[bytes | memoryview, ...]:
    """The same file with its notes sorted: the library writes them in another order each time."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # arrays begin at multiples of 8 bytes
    return len(text).to_bytes(8, "little"), text, memoryview(data)[start:]


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits.

    Args:
      path: the file.

    Returns:
      64 digits.

    Example:
      >>> sha256(Path("/dev/null"))[:8]
      'e3b0c442'
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    safetensors = _import("safetensors")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: _wide(file.get_tensor(name)) for name in file.keys()}
    except Exception as error:
        # What a damaged header raises is not one type.
        raise InputError(
            f"{path} is no whole .safetensors file with 16, 32 or 64 bits a number "
            f"({_one_line(error)}); download it again"
        ) from None


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    torch = _import("torch")
    _check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises a dozen types for damaged files; none of them is to reach the user.
        raise InputError(
            f"{path} is no whole PyTorch file of weights alone, and nothing else is read, since "
            f"pickles can run code ({_one_line(error)}); download it again, or save its state dict "
            "alone"
        ) from None
    content = _state_dict(content)
    wrong = [
        name
        for name, value in content.items()
        if not isinstance(name, str) or not isinstance(value, torch.Tensor)
    ]
    if wrong or not content:
        names = ", ".join(str(name) for name in wrong[:5]) or "it is empty"
        raise InputError(f"{path} holds no state dict of tensors ({names}); save one in it")
    try:
        return {name: _to_numpy(tensor) for name, tensor in content.items()}
    except (RuntimeError, TypeError, NotImplementedError) as error:
        # Sparse, quantized or empty-handed ("meta") tensors.
        raise InputError(f"{path} holds tensors that are no plain arrays ({error})") from None


def _check_archive(path: Path) -> None:
    """Refuses a file with changed bytes: torch compares none of the checksums in its archives."""
    if not zipfile.is_zipfile(path):  # a pickle of before 2020, which has none
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # what a damaged directory leads to is of no particular type
        damaged = _one_line(error)
    if damaged is not None:
        raise InputError(
            f"{path} is damaged (the checksum of {damaged} differs); download it again"
        )


def _state_dict(content: Any) -> Mapping[Any, Any]:
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return content[key]
    return content if isinstance(content, Mapping) else {}


def _to_numpy(tensor: Any) -> np.ndarray:
    if tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()
    return tensor.detach().resolve_conj().resolve_neg().numpy()


def _wide(array: np.ndarray) -> np.ndarray:
    short = array.dtype.itemsize < 4 and array.dtype.kind not in "iub"
    return array.astype(np.float32) if short else array


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.split(".")[0]
        raise InputError(
            f"{package} is not installed; install it with pip install 'segalias_jax[torch]'"
        ) from None


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    text = text.split(". ")[0].rstrip(".")
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
