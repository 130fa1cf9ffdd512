"""Networks of other libraries: each is profiled and de-aliased like any function.

Those of Equinox, Linen and NNX are `examples/`.
"""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax.tracing import dealias, find_operators, profile_aliasing

EXAMPLES = Path(__file__).parents[2] / "examples"
IMAGES = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("0[123]_*.py")), ids=lambda p: p.stem)
def test_examples(path, capsys, library):
    if "equinox" in path.stem:
        library("equinox")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()
    lines = capsys.readouterr().out.splitlines()
    tables = lines[: len(lines) // 2], lines[len(lines) // 2 : -1]
    last = [[float(line.split("%")[0]) for line in _scores(table)] for table in tables]
    assert last[0][-1] > 5 and last[1][-1] == 0, "the last operator is filtered"
    assert f"{path.name}:" in lines[1]


def _scores(table):
    """Column "above %" of each line."""
    end = table[0].index("above %") + len("above %")
    return [line[:end].split()[-1] for line in table[1:]]


def check(function, kinds, *arguments):
    """Operators are found and filtered, and results keep their shape."""
    found = find_operators(function, *arguments)
    assert [o.kind for o in found] == kinds
    filtered = dealias(function)
    first, *_, last = profile_aliasing(filtered, *arguments).operators
    assert first.score > 20 and last.score == pytest.approx(0, abs=1e-3)
    gradient = jax.grad(lambda x: jnp.sum(filtered(*arguments[:-1], x)))
    assert jax.eval_shape(gradient, IMAGES).shape == IMAGES.shape
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of JAX, for what Haiku calls
def test_haiku(library):
    haiku = library("haiku")

    def network(x):
        x = jax.nn.relu(haiku.Conv2D(8, 3, stride=2)(x))
        x = haiku.MaxPool(3, 2, "SAME")(x)
        return haiku.Conv2D(16, 3, stride=2, name="branch")(x) + haiku.Conv2D(16, 1, stride=2)(x)

    transformed = haiku.without_apply_rng(haiku.transform(network))
    variables = transformed.init(jax.random.key(0), IMAGES)
    found = check(
        transformed.apply, ["conv", "max_pool", "conv", "conv", "block"], variables, IMAGES
    )
    assert found[0].name == "conv2_d" and found[2].name == "branch"


def test_keras(library):
    keras = library("keras")
    network = keras.Sequential(
        [
            keras.layers.Input((32, 32, 3)),
            keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            keras.layers.AveragePooling2D(2),
            keras.layers.SeparableConv2D(16, 3, strides=2, padding="same"),
        ]
    )
    found = check(lambda x: network(x), ["conv", "avg_pool", "conv"], IMAGES)
    assert [o.in_channels for o in found] == [3, 8, 8]
