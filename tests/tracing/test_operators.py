"""Rates of operators whose axes differ, and axes of layouts."""

import pytest

from segalias_jax.tracing import DownsamplingOperator


def operator(kernel_size, stride, channels=(8, 16)):
    return DownsamplingOperator(
        0, "", "", "conv", (2, 8, 32, 32), (2, 3), 1, kernel_size, stride, *channels
    )


@pytest.mark.parametrize(
    "kernel_size, stride, channels, rate",
    [
        ((3, 3), (2, 2), (8, 16), 2**0.5 / 2),
        ((1, 1), (2, 2), (8, 16), 0.5),
        ((3, 1), (2, 2), (8, 16), 0.5),
        ((3, 3), (2, 4), (8, 8), 0.25),
        ((4, 4), (4, 4), (3, 768), 1.0),
    ],
)
def test_the_lesser_rate_counts(kernel_size, stride, channels, rate):
    found = operator(kernel_size, stride, channels)
    assert found.sampling_rate == pytest.approx(rate)
    assert found.nyquist_frequency == pytest.approx(rate / 2)


def test_batch_axes_are_the_rest():
    assert operator((3, 3), (2, 2)).batch_axes == (0,)
