"""ONNX programs of networks for images of any size, in onnxruntime beside the networks."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import published
import pytest
from flax import nnx

from segalias_jax import ops
from segalias_jax.models import convnext

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from segalias_jax.export.onnx_rules import to_onnx  # noqa: E402

SMALL = {"encoder": "resnet18", "width": 8, "channels": 8, "auxiliary_channels": 8, "reduction": 4}
NETWORKS = {
    "upernet": {"downsample": "daf", "mixer": "freqmix"},
    "fcn": {"name": "fcn", "downsample": "blur3"},
    "pspnet": {"name": "pspnet", "downsample": "daf", "output_stride": 8},
    "deeplabv3plus": {"name": "deeplabv3plus", "downsample": "adaptive_blur"},
    "convnext": {"encoder": "convnext_tiny", "downsample": "daf"},
    "semantic_fpn": {"name": "semantic_fpn", "variant": "v1d", "align_corners": True},
}
# Compiling takes most of the time; what it saves on small images is nothing.
UNOPTIMIZED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def draw(name, shape):
    """Weights that keep features at their size; biases, scales and variances around 1."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) == 1:
        return random.uniform(0.5, 1.5, shape)
    return random.normal(0, np.prod(shape[1:]) ** -0.5, shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_network(name, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda *_: 1)  # other programs than those of several
    monkeypatch.setitem(convnext.CONVNEXTS, "convnext_tiny", (96, (1, 1, 2, 1)))
    model = published.create_published(SMALL | NETWORKS[name], draw, num_classes=5)
    model.eval()
    graph, state = nnx.split(model)

    def logits(image):
        return nnx.merge(graph, state)(ops.normalize_image(image))

    limits = ["height >= 32", "width >= 32"]
    shape = jax.export.symbolic_shape("batch, height, width, 3", constraints=limits)
    with ops.products_only():
        image = jax.ShapeDtypeStruct(shape, jnp.uint8)
        program = to_onnx(logits, {"image": image}, ["logits"])
        options = {"providers": ["CPUExecutionProvider"]}
        session = runtime.InferenceSession(program.SerializeToString(), **options)
        for size in ((2, 57, 75), (1, 64, 96))[: 2 if name == "upernet" else 1]:
            image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
            (found,) = session.run(["logits"], {"image": image})
            expected = np.asarray(jax.jit(logits, compiler_options=UNOPTIMIZED)(image))
            # Programs sum in other orders: of the largest logit a few times 1e-7 are seen.
            largest = np.abs(expected).max()
            assert found.shape == expected.shape and largest > 1
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * largest)
