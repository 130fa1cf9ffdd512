"""Resizing and pooling against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.errors import InputError

SIZES = [(8, 8, 16, 16), (7, 9, 20, 5), (3, 4, 3, 4), (5, 6, 1, 1), (1, 1, 4, 3), (65, 97, 17, 25)]


def interpolate(x, m, align_corners):
    """One axis by the formula of the docstring, in float64."""
    n = len(x)
    out = np.empty((m, *x.shape[1:]))
    for i in range(m):
        if align_corners:
            position = i * (n - 1) / (m - 1) if m > 1 else 0.0
        else:
            position = max((i + 0.5) * n / m - 0.5, 0.0)
        low = min(int(position), n - 1)
        share = position - low
        out[i] = (1 - share) * x[low] + share * x[min(low + 1, n - 1)]
    return out


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("align_corners", [False, True])
def test_bilinear(size, align_corners):
    h, w, h2, w2 = size
    x = np.random.default_rng(0).normal(size=(2, h, w, 3)).astype(np.float32)
    y = ops.resize_bilinear(jnp.asarray(x), (h2, w2), align_corners=align_corners)
    expected = interpolate(np.moveaxis(x, 1, 0), h2, align_corners)
    expected = interpolate(np.moveaxis(expected, 2, 0), w2, align_corners)
    np.testing.assert_allclose(y, np.moveaxis(expected, (0, 1), (2, 1)), atol=2e-6)


def test_bilinear_against_torch():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(1, 13, 17, 4)).astype(np.float32)
    for align_corners in (False, True):
        expected = torch.nn.functional.interpolate(
            torch.tensor(x).permute(0, 3, 1, 2),
            (29, 11),
            mode="bilinear",
            align_corners=align_corners,
        )
        y = ops.resize_bilinear(jnp.asarray(x), (29, 11), align_corners=align_corners)
        # torch computes positions in float32.
        np.testing.assert_allclose(y, expected.permute(0, 2, 3, 1), atol=1e-5)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_nearest(size):
    h, w, h2, w2 = size
    x = np.random.default_rng(0).normal(size=(2, h, w, 3)).astype(np.float32)
    rows, columns = np.arange(h2) * h // h2, np.arange(w2) * w // w2
    y = ops.resize_nearest(jnp.asarray(x), (h2, w2))
    np.testing.assert_array_equal(y, x[:, rows][:, :, columns])  # copies, so to the last bit


@pytest.mark.parametrize("cells", [(1, 1), (2, 3), (6, 6), (9, 10)], ids=str)
def test_adaptive_pooling(cells):
    x = np.random.default_rng(0).normal(size=(2, 7, 10, 3)).astype(np.float32)
    y = ops.adaptive_avg_pool(jnp.asarray(x), cells)
    for i in range(cells[0]):
        for j in range(cells[1]):
            rows = slice(7 * i // cells[0], -(-7 * (i + 1) // cells[0]))
            columns = slice(10 * j // cells[1], -(-10 * (j + 1) // cells[1]))
            np.testing.assert_allclose(y[:, i, j], x[:, rows, columns].mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (9, 7)], ids=str)
def test_max_pool_and_its_gradient(size):
    x = jax.random.normal(jax.random.key(0), (2, *size, 3))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    rows, columns = ((n - 1) // 2 + 1 for n in size)
    expected = np.stack(
        [
            padded[:, a : a + 2 * rows : 2, b : b + 2 * columns : 2][:, :rows, :columns]
            for a in range(3)
            for b in range(3)
        ]
    ).max(0)
    np.testing.assert_array_equal(ops.max_pool(x, 3, stride=2, padding=1), expected)


def test_the_first_of_equal_maxima_gets_the_gradient():
    x = np.maximum(np.random.default_rng(0).normal(size=(2, 9, 7, 3)), 0).astype(np.float32)
    y, pull = jax.vjp(lambda x: ops.max_pool(x, 3, stride=2, padding=1), jnp.asarray(x))
    cotangent = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    expected = np.zeros_like(padded)
    for b, i, j, c in np.ndindex(*y.shape):
        part = padded[b, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3, c]
        row, column = np.unravel_index(part.argmax(), part.shape)
        expected[b, 2 * i + row, 2 * j + column, c] += cotangent[b, i, j, c]
    # Sums of at most nine numbers, in another order.
    np.testing.assert_allclose(pull(cotangent)[0], expected[:, 1:-1, 1:-1], atol=2e-6)


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (1, 4)], ids=str)
def test_average_pool(size):
    """Means over what windows hold, on odd sides too."""
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    y = ops.average_pool_2x2(jnp.asarray(x))
    assert y.shape == (2, -(-size[0] // 2), -(-size[1] // 2), 3)
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            window = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            np.testing.assert_allclose(y[:, i, j], window.mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 8), (5, 9), (1, 1)], ids=str)
def test_max_pool_of_two(size, stride, devices, monkeypatch):
    """Maxima over what windows hold, and the gradient to where they are."""
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    y, pull = jax.vjp(lambda x: ops.max_pool_2x2(x, stride=stride), jnp.asarray(x))
    assert y.shape == (2, -(-size[0] // stride), -(-size[1] // stride), 3)
    expected = np.zeros_like(x)
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            rows, columns = (slice(stride * k, stride * k + 2) for k in (i, j))
            most = x[:, rows, columns].max((1, 2), keepdims=True)
            np.testing.assert_array_equal(y[:, i, j], most[:, 0, 0])
            expected[:, rows, columns] += x[:, rows, columns] == most
    np.testing.assert_allclose(pull(jnp.ones_like(y))[0], expected, atol=1e-6)


@pytest.mark.parametrize("size", [(3, 4), (2, 6), (5, 1), (4, 7)])
def test_any_size_is_cut_or_repeated(size):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 2)).astype(np.float32)
    y = ops.crop_or_extend(jnp.asarray(x), size)
    rows, columns = (np.minimum(np.arange(m), n - 1) for m, n in zip(size, (3, 4), strict=True))
    np.testing.assert_array_equal(y, x[:, rows][:, :, columns])


def test_types_are_kept():
    x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    assert ops.resize_bilinear(x, (8, 8)).dtype == jnp.bfloat16
    assert ops.adaptive_avg_pool(x, (2, 2)).dtype == jnp.bfloat16
    assert ops.max_pool(x, 2, stride=2).dtype == jnp.bfloat16
    assert ops.average_pool_2x2(x).dtype == jnp.bfloat16
    assert ops.crop_or_extend(x, (5, 3)).dtype == jnp.bfloat16
    assert ops.max_pool_2x2(x).dtype == ops.max_pool_2x2(x, stride=1).dtype == jnp.bfloat16


def test_wrong_size():
    with pytest.raises(InputError, match=r"size is \(0, 3\)"):
        ops.resize_bilinear(jnp.ones((4, 4, 1)), (0, 3))
    with pytest.raises(InputError, match=r"size is \(0, 3\)"):
        ops.resize_nearest(jnp.ones((4, 4, 1)), (0, 3))
    with pytest.raises(InputError, match=r"size is \(0, 3\)"):
        ops.adaptive_avg_pool(jnp.ones((4, 4, 1)), (0, 3))


@pytest.mark.parametrize("stride", [1, 2])
def test_what_is_no_number_does_not_vanish_in_a_maximum(stride):
    x = jnp.zeros((1, 4, 4, 1))
    for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
        y = ops.max_pool_2x2(x.at[0, place[0], place[1], 0].set(jnp.nan), stride=stride)
        assert bool(jnp.isnan(y[0, 0, 0, 0])), place
        y = ops.max_pool(x.at[0, place[0], place[1], 0].set(jnp.nan), 2, stride=stride)
        assert bool(jnp.isnan(y[0, 0, 0, 0])), place


def cubic(d):
    """Keys' kernel with a = -3/4, piece by piece."""
    d, a = abs(d), -0.75
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


@pytest.mark.parametrize("n, m", [(5, 3), (3, 7), (1, 4), (2, 3), (9, 1)])
def test_bicubic(n, m):
    """One axis, sample by sample; beyond the border is the last sample."""
    x = np.random.default_rng(0).normal(size=n)
    expected = []
    for i in range(m):
        at = (i + 0.5) * n / m - 0.5
        near = range(int(np.floor(at)) - 1, int(np.floor(at)) + 3)
        expected.append(sum(cubic(at - j) * x[min(max(j, 0), n - 1)] for j in near))
    with jax.enable_x64(True):
        y = ops.resize_bicubic(jnp.asarray(x)[:, None, None], (m, 1))
        across = ops.resize_bicubic(jnp.asarray(x)[None, :, None], (1, m))
    np.testing.assert_allclose(y[:, 0, 0], expected, atol=1e-12)
    np.testing.assert_array_equal(across[0, :, 0], y[:, 0, 0])


def test_bicubic_of_sizes_that_are_not_known():
    def resize(x, like):
        return ops.resize_bicubic(x, like.shape[:2])

    x = jax.random.normal(jax.random.key(0), (7, 7, 2))
    shape = jax.export.symbolic_shape("h, w")
    like = jax.ShapeDtypeStruct(shape, jnp.float32)
    program = jax.export.export(jax.jit(resize))(jax.ShapeDtypeStruct(x.shape, x.dtype), like)
    found = program.call(x, jnp.zeros((4, 9)))
    # Positions are rounded in float32 there.
    np.testing.assert_allclose(found, ops.resize_bicubic(x, (4, 9)), atol=2e-6)
