"""Lengths that an ONNX program computes, beside Python's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax.errors import InputError

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from segalias_jax.export.onnx_rules import to_onnx  # noqa: E402

EXPRESSIONS = (
    "h",
    "h - 7",
    "3*h*w - 2*w + 1",
    "h^3",
    "floordiv(h + 1, 2)",
    "-1*floordiv(-1*h, 4)",  # rounded up
    "floordiv(h - 9, w)",  # of a negative number
    "mod(h, 4)",
    "mod(5 - h, 3)",
    "max(h, w)",
    "min(2*h, floordiv(w, 2) + 3)",
    "mod(max(h - w, 0), 2)*w^2",
)


def test_equal_python():
    h, w, *lengths = jax.export.symbolic_shape(f"h, w, {', '.join(EXPRESSIONS)}")
    model = to_onnx(
        lambda x: jnp.stack([jnp.asarray(length) for length in lengths]),
        {"x": jax.ShapeDtypeStruct((1, h, w), jnp.float32)},
        ["y"],
    )
    options = {"providers": ["CPUExecutionProvider"]}
    session = runtime.InferenceSession(model.SerializeToString(), **options)
    python = {"floordiv": lambda a, b: a // b, "mod": lambda a, b: a % b, "max": max, "min": min}
    for h, w in ((5, 3), (4, 9), (16, 2)):
        (found,) = session.run(["y"], {"x": np.zeros((1, h, w), np.float32)})
        numbers = python | {"h": h, "w": w}
        expected = [eval(text.replace("^", "**"), numbers) for text in EXPRESSIONS]
        assert found.tolist() == expected


def test_lengths_that_the_shape_does_not_tell():
    twice, once = jax.export.symbolic_shape("2*h, h")
    image = jax.ShapeDtypeStruct((twice,), jnp.float32)
    with pytest.raises(InputError, match="cannot compute the length h"):
        to_onnx(lambda x: x * once, {"x": image}, ["y"])
