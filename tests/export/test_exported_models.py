"""Programs of every decoder, of newer encoders and of U-Nets of any size, against the networks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import segalias_jax as sa
from segalias_jax.export import export_model
from segalias_jax.inference import load_trained
from segalias_jax.layers.upsample import UPSAMPLE
from segalias_jax.models import hrnet
from segalias_jax.models.convnextv2 import CONVNEXTV2S
from segalias_jax.models.dinov2 import DINOV2S
from segalias_jax.models.mit import MITS

FILTERS = ("adaptive_blur", "blur3", "none", "daf")
SIZES = ((64, 96), (57, 75), (33, 47))
# Compiling takes most of the time; what it saves on small images is nothing.
UNOPTIMIZED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """Tests have several, on which some operations are written in another way."""
    monkeypatch.setattr(jax, "device_count", lambda *_: 1)


@pytest.fixture(scope="module")
def trained(run):
    return load_trained(run[1])


def create(**options):
    """A narrow network without weights."""
    options = {"width": 8, "channels": 8, "auxiliary": False} | options
    model = nnx.eval_shape(lambda: sa.models.create_model(options, num_classes=8, rngs=nnx.Rngs(0)))
    model.eval()
    return model


def with_network(trained, **options):
    """Another network, with drawn weights, in place of the trained one."""
    model, rng = create(**options), np.random.default_rng(0)
    for path, leaf in nnx.to_flat_state(nnx.state(model)):
        if isinstance(leaf, nnx.RngState):
            leaf.set_value(jax.random.key(0) if path[-1] == "key" else jnp.uint32(0))
            continue
        values = rng.normal(size=leaf.shape)
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if path[-1] == "kernel" else 0.1
        positive = path[-1] in ("var", "scale")
        leaf.set_value(jnp.float32(1 + abs(0.1 * values) if positive else scale * values))
    return dataclasses.replace(trained, model=model)


def drawn_image(size):
    return np.random.default_rng(1).integers(0, 256, (1, *size, 3), np.uint8)


def run_once(function, image):
    return np.asarray(jax.jit(function, compiler_options=UNOPTIMIZED)(image))


def assert_close(found, expected):
    # Programs sum in other orders, in float32, through some twenty layers.
    bound = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("encoder", ["double_conv", "resnet18", "mit_b0"])
def test_networks_of_symbolic_size(encoder, monkeypatch):
    """Height and width come out as they went in, whatever they are."""
    monkeypatch.setitem(MITS, "mit_b0", (8, (1, 1, 1, 1)))
    image = jax.ShapeDtypeStruct(
        jax.export.symbolic_shape("b, h, w, 3", constraints=["h >= 32", "w >= 32"]), jnp.float32
    )
    for filter_ahead, upsample in zip(FILTERS, UPSAMPLE, strict=True):
        options = {"name": "unet", "encoder": encoder, "upsample": upsample}
        if encoder == "mit_b0":
            options = {"name": "segformer", "encoder": encoder}
        model = create(**options, downsample=filter_ahead)
        with sa.ops.products_only():
            logits = nnx.eval_shape(lambda model, x: model(x), model, image)
        assert logits.shape == (*image.shape[:3], 8)


@pytest.mark.parametrize(
    "encoder, downsample, upsample, sizes",
    [
        ("double_conv", "none", "zeros", SIZES),
        ("double_conv", "daf", "transpose", SIZES[:2]),
        ("double_conv", "blur5", "bilinear", SIZES[1:]),
        ("resnet18", "daf", "nearest", SIZES[:2]),
    ],
)
def test_unet_of_any_size(trained, tmp_path, encoder, downsample, upsample, sizes):
    options = {"encoder": encoder, "downsample": downsample, "upsample": upsample}
    unet = with_network(trained, name="unet", **options)
    path = export_model(unet, tmp_path, format="stablehlo", size="any")
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    for size in sizes:
        image = drawn_image(size)
        assert_close(run_once(program.call, image), run_once(unet.apply, image))


def test_savedmodel_of_any_size(trained, tmp_path):
    tf = pytest.importorskip("tensorflow")
    unet = with_network(trained, name="unet", encoder="double_conv", downsample="daf")
    path = export_model(unet, tmp_path, format="savedmodel", size="any")
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    for size in SIZES[1:]:
        image = drawn_image(size)
        found = served(image=tf.constant(image))["logits"].numpy()
        assert_close(found, run_once(unet.apply, image))


@pytest.mark.parametrize(
    "options",
    [
        {"name": "fcn"},
        {"name": "pspnet"},
        {"name": "deeplabv3plus", "output_stride": 16, "low_level_channels": 4},
        {"name": "semantic_fpn", "pyramid_channels": 8},
        {"name": "unet", "encoder": "double_conv", "upsample": "transpose", "downsample": "daf"},
        {"name": "fcn", "encoder": "convnextv2_tiny"},
        {"name": "fcn", "encoder": "dinov2_small", "downsample": "daf"},
        {"name": "ocr", "encoder": "hrnet_w18", "downsample": "daf"},
        {"name": "segformer", "encoder": "mit_b0", "downsample": "daf"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_onnx_of_every_decoder(trained, tmp_path, monkeypatch, options):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    monkeypatch.setitem(CONVNEXTV2S, "convnextv2_tiny", (8, (1, 1, 2, 1)))  # 18 blocks compile long
    monkeypatch.setitem(DINOV2S, "dinov2_small", (8, (1, 0, 0, 1)))
    monkeypatch.setitem(hrnet.HRNETS, "hrnet_w18", (8, (1, 1, 1, 1)))
    monkeypatch.setitem(MITS, "mit_b0", (8, (1, 1, 1, 1)))
    monkeypatch.setattr(hrnet, "BLOCKS", 1)
    network = with_network(trained, **{"encoder": "resnet18"} | options)
    path = export_model(network, tmp_path, format="onnx", size=(40, 64))
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = drawn_image((40, 64))
    (found,) = session.run(["logits"], {"image": image})
    assert_close(found, run_once(network.apply, image))
