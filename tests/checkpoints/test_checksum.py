"""A checksum notices every changed bit and every exchange, and not how arrays are distributed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from segalias_jax.checkpoints.checksum import checksum

TREE = {
    "a": np.linspace(-1, 1, 35, dtype=np.float32).reshape(5, 7),
    "b": np.arange(-3, 3, dtype=np.int8),
    "c": np.asarray([True, False]),
    "d": jnp.linspace(0, 1, 6).astype(jnp.bfloat16),
    "e": np.float32(3),
}


@pytest.mark.parametrize("key", TREE)
def test_every_changed_bit_is_noticed(key):
    array = np.asarray(TREE[key])
    for bit in (0, 7, 8 * array.nbytes - 1) if key != "c" else (0, 8):
        data = bytearray(array.tobytes())
        data[bit // 8] ^= 1 << bit % 8
        changed = np.frombuffer(bytes(data), array.dtype).reshape(array.shape)
        assert checksum(TREE | {key: changed}) != checksum(TREE)


def test_order_matters():
    assert checksum({"a": TREE["a"].T.copy()}) != checksum({"a": TREE["a"]})
    pair = [np.float32(1), np.float32(2)]
    assert checksum(pair) != checksum(pair[::-1])


def test_random_keys_count():
    one, other = (checksum({"key": jax.random.key(seed)}) for seed in (0, 1))
    assert one != other


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
def test_distribution_does_not_matter():
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)
    x = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
    sums = {
        checksum([jax.device_put(x, NamedSharding(mesh, spec))])
        for spec in (P(), P("x"), P(None, "y"), P("x", "y"))
    }
    assert sums == {checksum([x])}
