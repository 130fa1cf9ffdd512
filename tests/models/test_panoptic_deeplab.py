"""Panoptic-DeepLab: what its maps are made of, on all kinds of encoders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_objects import Encoder
from flax import nnx

from segalias_jax import models, ops
from segalias_jax.errors import InputError

TINY = {"name": "panoptic_deeplab", "width": 8, "channels": 16, "dilations": (1, 2)}


def create(num_classes=3, **config):
    return models.create_panoptic(TINY | config, num_classes=num_classes, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    "config",
    [
        {"encoder": "resnet18", "output_stride": 8, "downsample": "daf", "mixer": "freqmix"},
        {"encoder": "convnext_tiny"},
        {"encoder": "double_conv"},
    ],
)
@pytest.mark.parametrize("size", [(64, 96), (45, 71)])
def test_maps_have_the_size_of_the_image(config, size):
    image = jnp.zeros((2, *size, 3), jnp.bfloat16)
    maps = nnx.eval_shape(lambda image: create(**config)(image), image)
    shapes = [(*size, 4), size, (*size, 2)]
    assert [x.shape for x in maps] == [(2, *shape) for shape in shapes]
    assert {x.dtype for x in maps} == {jnp.dtype("float32")}


def test_decoders_have_the_published_widths():
    model = nnx.eval_shape(lambda: create(encoder="resnet50", width=None, channels=256))
    for decoder, low, width in (
        (model.semantic_decoder, (64, 32), 256),
        (model.instance_decoder, (32, 16), 128),
    ):
        assert decoder.pyramid.bottleneck.conv.kernel.shape[-1] == 256
        reads = zip(decoder.low_levels, (512, 256), low, strict=True)
        assert all(part.conv.kernel.shape == (1, 1, a, b) for part, a, b in reads)
        kernels = [part.depthwise.conv.kernel.shape for part in decoder.refine]
        assert kernels == [(5, 5, 1, 256 + low[0]), (5, 5, 1, width + low[1])]
    assert model.center.mix.pointwise.conv.kernel.shape == (1, 1, 128, 32)
    assert model.semantic.out.kernel.shape == (1, 1, 256, 4)


def test_maps_are_what_heads_say_at_the_size_of_the_image():
    @jax.jit
    def both(image):
        encoder = Encoder(True, nnx.Rngs(0))
        model = models.PanopticDeepLab(
            encoder, num_classes=3, channels=16, dilations=(1, 2), rngs=nnx.Rngs(0)
        )
        model.eval()
        features = model.encoder(image)
        y = model.instance_decoder(features)
        return model(image), model.center(y), model.offset(y)

    maps, center, offset = both(jax.random.normal(jax.random.key(0), (1, 33, 40, 3)))
    assert center.shape == (1, 9, 10, 1)
    for ours, head in ((maps.center[..., None], center), (maps.offset, 4 * offset)):
        np.testing.assert_allclose(ours, ops.resize_bilinear(head, (33, 40)), rtol=0, atol=1e-6)
    assert np.ptp(maps.offset) > 0


@pytest.mark.parametrize(
    "config, message",
    [
        ({"channels": 8}, "channels is 8; panoptic_deeplab needs 16 or more"),
        ({"low_level_channels": 9}, "low_level_channels is 9, which neither panoptic_deeplab nor"),
        ({"max_detections": 9}, "max_detections is 9, which neither panoptic_deeplab nor"),
        ({"auxiliary": False}, "auxiliary is False, which neither panoptic_deeplab nor"),
        ({"name": "mask_rcnn", "channels": None, "dilations": (1, 12, 24, 36)}, "create_detector"),
        ({"pretrained": "r50"}, "pretrained: create_panoptic makes random parameters"),
    ],
)
def test_errors(config, message):
    with pytest.raises(InputError, match=message):
        nnx.eval_shape(lambda: create(**{"encoder": "resnet18"} | config))
    with pytest.raises(InputError, match="'panoptic_deeplab', which models.create_panoptic"):
        models.create_detector(TINY | {"encoder": "resnet18"}, num_classes=1, rngs=nnx.Rngs(0))


def test_encoders_without_fine_features_are_refused():
    class Coarse:
        channels, strides = (8, 8), (8, 16)

        def __call__(self, x):
            return x, x

    with pytest.raises(InputError, match="strides are 8, 16, but panoptic_deeplab reads stride 4"):
        models.PanopticDeepLab(Coarse(), num_classes=1, rngs=nnx.Rngs(0))
