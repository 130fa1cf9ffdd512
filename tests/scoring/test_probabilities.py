"""Probabilities counted on the host, like on a device, and read from files."""

import zipfile

import cv2
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import ScoreRules
from segalias_jax.metrics.binary import probability_counts
from segalias_jax.scoring.probabilities import count_probabilities, read_probability


@pytest.mark.parametrize("reduce_zero_label", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bool"])
def test_equals_the_device(dtype, reduce_zero_label):
    rng = np.random.default_rng(0)
    rules = ScoreRules(reduce_zero_label=reduce_zero_label)
    # Many lie exactly on the edge of a bin.
    probability = (rng.integers(-8, 1032, (17, 23)) / 1024).astype(dtype)
    label = rng.integers(0, 3, (17, 23)).astype(np.uint8)
    label[:3] = 255
    expected = probability_counts(probability, rules.class_label(label))
    found = count_probabilities(probability, label, rules)
    np.testing.assert_array_equal(found, expected[0])


def test_every_kind_of_file(tmp_path):
    values = np.asarray([[0, 0.25, 1]], np.float32)
    both = np.stack([1 - values, values], -1)
    np.save(tmp_path / "one.npy", values)
    np.save(tmp_path / "two.npy", both)
    np.savez_compressed(tmp_path / "three.npz", both.astype(np.float16))
    cv2.imwrite(str(tmp_path / "four.png"), np.round(values * 255).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "five.png"), np.round(values * 65535).astype(np.uint16))
    for name, step in (("one.npy", 0), ("two.npy", 0), ("three.npz", 0), ("four.png", 255)):
        tolerance = 0.5 / step if step else 0
        np.testing.assert_allclose(read_probability(tmp_path / name), values, atol=tolerance)
    np.testing.assert_allclose(read_probability(tmp_path / "five.png"), values, atol=0.5 / 65535)


def test_unusable_files_are_named(tmp_path):
    def check(name, message):
        with pytest.raises(InputError, match=f"{name}: {message}"):
            read_probability(tmp_path / name)

    np.save(tmp_path / "ids.npy", np.asarray([[0, 1]]))
    check("ids.npy", "holds int64, not probabilities; save numbers in 0..1")
    np.save(tmp_path / "logits.npy", np.asarray([[-3.0, 1.0]]))
    check("logits.npy", "holds numbers from -3.0 to 1.0, .* after the sigmoid or softmax")
    np.save(tmp_path / "nan.npy", np.asarray([[np.nan, 1.0]]))
    check("nan.npy", "holds numbers from nan")
    np.save(tmp_path / "three.npy", np.zeros((4, 5, 3)))
    check("three.npy", r"has shape \(4, 5, 3\), which is no map of two classes")
    cv2.imwrite(str(tmp_path / "color.png"), np.zeros((4, 5, 3), np.uint8))
    check("color.png", "holds colors, not probabilities")
    (tmp_path / "empty.png").write_bytes(b"")
    check("empty.png", "the file is empty")
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    check("cut.npy", "not a whole npy file")
    np.savez_compressed(tmp_path / "damaged.npz", np.linspace(0, 1, 999))
    data = bytearray((tmp_path / "damaged.npz").read_bytes())
    data[100:200] = bytes(100)
    (tmp_path / "damaged.npz").write_bytes(data)
    check("damaged.npz", "not a whole npz file .*; save it again")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("notes.txt", "none")
    check("text.npz", "not a whole npz file .*magic")
    check("missing.png", "cannot be read")
    check("missing.npz", "cannot be read")
