"""Counts of whole models against closed forms."""

import json
import math

import jax
import pytest
from flax import nnx

from segalias_jax import models
from segalias_jax.errors import InputError
from segalias_jax.models.cost.complexity import summarize

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


def multiply_adds(encoder, size):
    """Of all convolutions of a ResNet v1c on a square image whose side is a multiple of 32."""
    side = size // 2
    total = side**2 * 9 * (3 * 32 + 32 * 32 + 32 * 64)
    channels, side = 64, side // 2
    for i, blocks in enumerate(BLOCKS[encoder]):
        planes, expansion = 64 * 2**i, 4 if encoder == "resnet50" else 1
        for j in range(blocks):
            out, after = planes * expansion, side // 2 if i and not j else side
            if expansion == 4:
                total += side**2 * channels * planes
                total += after**2 * (9 * planes * planes + planes * out)
            else:
                total += after**2 * 9 * (channels * planes + planes * planes)
            if j == 0 and (i or channels != out):
                total += after**2 * channels * out
            channels, side = out, after
    return total


@pytest.mark.parametrize("encoder, published", [("resnet18", 1.814e9), ("resnet50", 4.089e9)])
def test_multiply_adds_of_encoders(encoder, published):
    """Published for the 7x7 stem and with a classifier of 1000 classes."""
    net = nnx.eval_shape(lambda: models.ResNet(encoder, rngs=nnx.Rngs(0)))
    expected = multiply_adds(encoder, 224)
    assert summarize(net, (2, 224, 224, 3)).total.product_flops == 2 * 2 * expected
    stem = 112**2 * 9 * (3 * 32 + 32 * 32 + 32 * 64)
    classifier = 1000 * net.channels[-1]
    assert math.isclose(
        expected - stem + 112**2 * 49 * 3 * 64 + classifier, published, rel_tol=3e-4
    )


TINY = {"encoder": "resnet18", "width": 8, "channels": 8, "auxiliary_channels": 8}


def tiny(**options):
    return nnx.eval_shape(
        lambda: models.create_model(TINY | options, num_classes=5, rngs=nnx.Rngs(0))
    )


@pytest.mark.parametrize(
    "options", [{}, {"downsample": "adaptive_blur", "mixer": "freqmix"}, {"auxiliary": False}]
)
def test_parameters_are_those_of_the_tree(options):
    model = tiny(**options)
    summary = summarize(model, (1, 64, 64, 3))
    for part in summary.parts:
        attribute = getattr(model, part.name, None)
        if attribute is not None:
            leaves = jax.tree.leaves(nnx.state(attribute, nnx.Param))
            assert part.parameters == sum(leaf.size for leaf in leaves), part.name
    leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
    assert summary.total.parameters == sum(leaf.size for leaf in leaves)
    names = ["stem", "stage1", "stage2", "stage3", "stage4", "decoder", "classifier", "other"]
    assert [p.name for p in summary.parts] == names + ["auxiliary"] * options.get("auxiliary", True)


def test_closed_forms_of_parts():
    parts = {part.name: part for part in summarize(tiny(), (2, 64, 64, 3)).parts}
    pixels = 2 * 16 * 16
    assert parts["classifier"].product_flops == 2 * pixels * 8 * 5
    assert parts["classifier"].flops == 2 * pixels * 8 * 5 + pixels * 5  # the bias
    assert parts["classifier"].activation_bytes == 4 * pixels * 5
    assert parts["stage1"].product_flops == 2 * pixels * 4 * 9 * 8 * 8
    assert parts["stage1"].activation_bytes == 4 * pixels * 4 * 8
    # The resizing of the auxiliary logits, too, is left out of the total.
    without = summarize(tiny(auxiliary=False), (2, 64, 64, 3))
    assert without.total.flops == sum(parts[name].flops for name in parts if name != "auxiliary")


def test_compiled_program():
    summary = summarize(tiny(), (1, 64, 64, 3), compiled=True)
    # The backend leaves out products with padding, which are many on maps as small as these.
    assert 0.7 < summary.compiled.flops / summary.total.flops < 1.1
    assert summary.compiled.argument_bytes > 4 * summary.total.parameters * 0.8
    assert "of those counted" in summary.table()
    content = json.loads(json.dumps(summary.to_json()))
    assert content["total"]["flops"] == summary.total.flops
    assert content["downsampling"][-1]["nyquist_frequency"] == pytest.approx(2**0.5 / 4)
    assert content["compiled"]["platform"] == "cpu"


def test_table_fits():
    table = summarize(tiny(encoder="resnet50", downsample="adaptive_blur"), (1, 64, 64, 3)).table()
    lines = table.splitlines()
    assert max(map(len, lines)) <= 100
    rows = [line for line in lines if line.startswith(("stem", "stage", "decoder", "total"))]
    assert len({len(line) for line in rows[:7]}) == 1, "columns are not aligned"
    assert sum("(as one operator)" in line for line in lines) == 3
    assert "nothing compiled" in lines


@pytest.mark.parametrize("shape", [(64, 64, 3), (0, 64, 64, 3)])
def test_wrong_shapes(shape):
    with pytest.raises(InputError, match="the image shape is"):
        summarize(tiny(), shape)
