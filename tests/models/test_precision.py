"""How precise the products of float32 arrays are that programs ask a TPU for, as they are lowered.

A TPU multiplies in bfloat16 where a product says nothing. Filters, resizing and gates ask for all
of float32; convolutions and dense layers follow `train.matmul_precision`.
"""

import re

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from segalias_jax import layers, losses, models, ops
from segalias_jax.losses.panoptic import panoptic_targets
from segalias_jax.runs import setup
from segalias_jax.runs.evaluate import evaluate_run
from segalias_jax.runs.recipe import Recipe
from segalias_jax.runs.recipes import load_recipe
from segalias_jax.runs.train import train

HIGHEST, DEFAULT = "HIGHEST", "DEFAULT"


def products(function, *shapes):
    """Kind, precision and operands of every product in a program for a TPU."""
    with ops.target(1, "tpu"):
        traced = jax.jit(lambda *arrays: function(*arrays)).trace(*shapes)
    found = []
    for line in traced.lower(lowering_platforms=("tpu",)).as_text().splitlines():
        if operator := re.search(r"stablehlo\.(dot_general|convolution)", line):
            both = re.findall(r"\b(HIGHEST|HIGH|DEFAULT)\b", line)
            assert len(both) == 2 and both[0] == both[1], line
            found.append((operator[1], both[0], line))
    return found


def image(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def gradient(function):
    return jax.grad(lambda *arrays: jnp.sum(function(*arrays)))


@pytest.mark.parametrize("band", ["symmetric", "reference"])
def test_filters_and_resizing_multiply_in_float32(band):
    def apply(x):
        x = ops.low_pass(x, 0.3, band=band)
        return ops.resize_bilinear(ops.frequency_low_cut(x, 2, band=band), (5, 7))

    found = products(gradient(apply), image(1, 15, 24, 2))
    assert len(found) >= 6 and {precision for _, precision, _ in found} == {HIGHEST}


@pytest.mark.parametrize("gate", ["corner", "magnitude"])
def test_gates_read_in_float32_and_mix_as_layers_do(gate):
    module = nnx.eval_shape(lambda: layers.FreqMix(4, cutoff=0.25, gate=gate, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(module)
    found = products(lambda state, x: nnx.merge(graph, state)(x), state, image(1, 8, 12, 4))
    # What is asked of the weights alone: they are no constants of the program.
    fixed = [precision for _, precision, line in found if "%cst" in line]
    assert len(fixed) >= 2 and set(fixed) == {HIGHEST}
    assert {precision for _, precision, line in found if "%cst" not in line} >= {DEFAULT}


def test_norms_and_losses_have_no_products():
    label = jnp.zeros((1, 4, 6), jnp.int32)
    norm = layers.LayerNorm(3)
    for function in (
        lambda x: norm(x) + layers.BatchNorm(3)(x),
        lambda x: losses.cross_entropy(x, label, class_weights=(1.0, 2.0, 3.0)),
    ):
        assert products(gradient(function), image(1, 4, 6, 3)) == []


def test_centers_of_objects_are_read_in_float32():
    def centers(masks, classes, crowd, size):
        return panoptic_targets(masks, classes, crowd, size, width=24).offset

    types = {(2, 16, 3): jnp.uint8, (2,): jnp.int32}
    masks, classes = (jax.ShapeDtypeStruct(*one) for one in types.items())
    crowd, size = jax.ShapeDtypeStruct((2,), bool), classes
    found = products(centers, masks, classes, crowd, size)
    assert len(found) == 2 and {precision for _, precision, _ in found} == {HIGHEST}


def test_a_network_filters_in_float32_and_leaves_the_rest_to_the_compiler():
    section = load_recipe("cityscapes:daf,freqmix").model
    section.encoder, section.channels = "resnet18", 16
    model = nnx.eval_shape(lambda: models.create_model(section, num_classes=3, rngs=nnx.Rngs(0)))
    graph, parameters, statistics = nnx.split(model, nnx.Param, ...)

    def logits(parameters, statistics, x):
        y = nnx.merge(graph, parameters, statistics, copy=True)(x)
        return sum(map(jnp.sum, jax.tree.leaves(y)))

    found = products(jax.grad(logits), parameters, statistics, image(1, 64, 64, 3))
    assert {precision for kind, precision, _ in found if kind == "convolution"} == {DEFAULT}
    filters = [precision for _, precision, line in found if "%cst" in line]
    assert len(filters) > 50 and set(filters) == {HIGHEST}


@pytest.mark.parametrize(
    ("asked", "written"), [("default", DEFAULT), ("high", "HIGH"), ("highest", HIGHEST)]
)
def test_layers_follow_the_recipe(asked, written):
    wide, narrow = image(3, 3, 32, 32), image(1, 1, 32, 2)

    def convolve(x, wide, narrow):
        return ops.conv2d(ops.conv2d(x, wide, padding=1), narrow)

    recipe = Recipe.from_config({"train": {"matmul_precision": asked}})
    with setup.matmul_precision(recipe):
        found = products(gradient(convolve), image(1, 4, 4, 32), wide, narrow)
    assert {kind for kind, _, _ in found} == {"convolution", "dot_general"}
    assert {precision for _, precision, _ in found} == {written}


def test_training_and_evaluation_enter_it(tmp_path, monkeypatch):
    class Seen(Exception):
        pass

    def stop(*_):
        raise Seen(jax.config.jax_default_matmul_precision)

    monkeypatch.setattr(setup, "open_mesh", stop)
    monkeypatch.setattr(setup, "check_pretrained", stop)
    config = {"train": {"matmul_precision": "high"}, "model": {"pretrained": "timm:x"}}
    for run in (train, evaluate_run):
        with pytest.raises(Seen, match="^high$"):
            run(config, tmp_path / run.__name__)
    assert jax.config.jax_default_matmul_precision != "high"
