"""Pure functions on arrays: frequencies, resampling, convolutions and label maps."""

from segalias_jax.ops.axis import apply_along_axis
from segalias_jax.ops.blur import binomial_blur
from segalias_jax.ops.conv import conv2d
from segalias_jax.ops.fourier import (
    aliasing_score,
    band_bounds,
    band_kernel,
    check_band,
    equivalent_sampling_rate,
    low_pass,
    nyquist_frequency,
    split_bands,
)
from segalias_jax.ops.normalize import IMAGENET_MEAN, IMAGENET_STD, normalize_image
from segalias_jax.ops.resample import adaptive_avg_pool, max_pool, resize_bilinear

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "adaptive_avg_pool",
    "aliasing_score",
    "apply_along_axis",
    "band_bounds",
    "band_kernel",
    "binomial_blur",
    "check_band",
    "conv2d",
    "equivalent_sampling_rate",
    "low_pass",
    "max_pool",
    "normalize_image",
    "nyquist_frequency",
    "resize_bilinear",
    "split_bands",
]
