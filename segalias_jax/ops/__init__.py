"""Pure functions on arrays: frequencies, resampling, convolutions, label maps and boxes."""

from segalias_jax.ops.anchors import base_anchors, grid_anchors
from segalias_jax.ops.axis import apply_along_axis
from segalias_jax.ops.bands import (
    band_bounds,
    band_kernel,
    check_band,
    equivalent_sampling_rate,
    nyquist_frequency,
)
from segalias_jax.ops.blur import binomial_blur, binomial_taps
from segalias_jax.ops.box_matching import (
    BACKGROUND,
    BETWEEN,
    Samples,
    match_boxes,
    sample_boxes,
)
from segalias_jax.ops.boxes import (
    box_area,
    box_iou,
    clip_boxes,
    decode_boxes,
    encode_boxes,
    wide_enough,
)
from segalias_jax.ops.conv import conv2d
from segalias_jax.ops.deformable import deformable_attention
from segalias_jax.ops.fourier import (
    aliasing_score,
    check_method,
    choose_method,
    frequency_low_cut,
    low_pass,
    products_only,
    soft_low_pass,
    split_bands,
)
from segalias_jax.ops.grouping import find_centers, group_pixels, merge_segments
from segalias_jax.ops.joined_conv import joined_conv2d
from segalias_jax.ops.morphology import boundary_band, dilate, label_boundary
from segalias_jax.ops.nms import best_of, nms, nms_mask
from segalias_jax.ops.normalize import IMAGENET_MEAN, IMAGENET_STD, normalize_image
from segalias_jax.ops.points import sample_mask_points, sample_points
from segalias_jax.ops.rank import majority_filter, median_filter
from segalias_jax.ops.ratio import check_ratio, ratio_low_pass, ratio_mask
from segalias_jax.ops.resample import (
    adaptive_avg_pool,
    average_pool_2x2,
    bilinear_taps,
    crop_or_extend,
    image_size,
    max_pool,
    max_pool_2x2,
    resize_bicubic,
    resize_bilinear,
    resize_nearest,
    strided,
)
from segalias_jax.ops.roi_align import (
    ROI_METHODS,
    roi_align,
    roi_align_levels,
    roi_align_masks,
    roi_levels,
)
from segalias_jax.ops.shift import shift_consistency
from segalias_jax.ops.spectrum import half_plane_weights, spectral_power
from segalias_jax.ops.targets import Target, current_target, platform_name, target
from segalias_jax.ops.upsample import (
    checkerboard_score,
    conv2d_transpose,
    insert_zeros,
)

__all__ = [
    "BACKGROUND",
    "BETWEEN",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ROI_METHODS",
    "Samples",
    "Target",
    "adaptive_avg_pool",
    "aliasing_score",
    "apply_along_axis",
    "average_pool_2x2",
    "band_bounds",
    "band_kernel",
    "base_anchors",
    "best_of",
    "bilinear_taps",
    "binomial_blur",
    "binomial_taps",
    "boundary_band",
    "box_area",
    "box_iou",
    "check_band",
    "check_method",
    "check_ratio",
    "checkerboard_score",
    "choose_method",
    "clip_boxes",
    "conv2d",
    "conv2d_transpose",
    "crop_or_extend",
    "current_target",
    "decode_boxes",
    "deformable_attention",
    "dilate",
    "encode_boxes",
    "equivalent_sampling_rate",
    "find_centers",
    "frequency_low_cut",
    "grid_anchors",
    "group_pixels",
    "half_plane_weights",
    "image_size",
    "insert_zeros",
    "joined_conv2d",
    "label_boundary",
    "low_pass",
    "majority_filter",
    "match_boxes",
    "max_pool",
    "max_pool_2x2",
    "median_filter",
    "merge_segments",
    "nms",
    "nms_mask",
    "normalize_image",
    "nyquist_frequency",
    "platform_name",
    "products_only",
    "ratio_low_pass",
    "ratio_mask",
    "resize_bicubic",
    "resize_bilinear",
    "resize_nearest",
    "roi_align",
    "roi_align_levels",
    "roi_align_masks",
    "roi_levels",
    "sample_boxes",
    "sample_mask_points",
    "sample_points",
    "shift_consistency",
    "soft_low_pass",
    "spectral_power",
    "split_bands",
    "strided",
    "target",
    "wide_enough",
]
