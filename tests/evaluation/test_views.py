"""What a network sees of an image, and recipe keys that cannot be."""

import cv2
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.evaluation.views import (
    ViewSettings,
    read_view_settings,
    view_images,
    window_starts,
)


@pytest.mark.parametrize("window, stride", [(7, 7), (7, 4), (7, 1), (20, 13)])
def test_windows_cover_everything_and_stay_inside(window, stride):
    """As published: as many windows as strides reach the end, the last one shifted inside."""
    for length in range(1, 60):
        side = min(window, length)
        starts = window_starts(length, side, stride)
        assert len(starts) == max(length - side + stride - 1, 0) // stride + 1
        assert starts == sorted(set(starts)) and starts[0] == 0 and starts[-1] == length - side
        assert all(b - a <= stride for a, b in zip(starts, starts[1:], strict=False))


def test_published_sizes():
    """Cityscapes at (2049, 1025), ADE20K at (2048, 512) with sides that 32 divides."""
    image = np.zeros((1024, 2048, 3), np.uint8)
    cityscapes = ViewSettings(resize=(2049, 1025), scales=(0.5, 1.0, 1.75))
    sizes = [view.shape[:2] for view, _ in view_images(image, cityscapes)]
    assert sizes == [(512, 1024), (1025, 2049), (1793, 3585)]
    ((view, _),) = view_images(
        np.zeros((300, 451, 3), np.uint8), ViewSettings(resize=(2048, 512), multiple=32)
    )
    assert view.shape[:2] == (512, 800)  # fitted to 512 x 770


def test_views_are_resized_as_in_training_and_mirrored():
    image = np.random.default_rng(0).integers(0, 256, (20, 31, 3)).astype(np.uint8)
    views = view_images(image, ViewSettings(scales=(1.0, 1.5), flip=True))
    assert views[0][0] is image
    larger = cv2.resize(image, (46, 30), interpolation=cv2.INTER_LINEAR)
    for (view, mirrored), expected in zip(views, (image, image, larger, larger), strict=True):
        np.testing.assert_array_equal(view[:, ::-1] if mirrored else view, expected)


def test_defaults_come_from_the_crop_and_changes_go_first():
    settings = read_view_settings({"mode": "slide", "window": (), "images": 6}, (30, 60))
    assert (settings.window, settings.stride) == ((30, 60), (20, 40))
    assert not settings.plain
    settings = read_view_settings({"mode": "slide", "flip": True}, (8, 8), mode="whole")
    assert settings.mode == "whole" and settings.flip and not settings.plain
    assert read_view_settings({}, (8, 8)).plain
    batches = {mode: {"mode": mode, "batch_size": 4} for mode in ("whole", "slide")}
    read = {mode: read_view_settings(given, (8, 8)) for mode, given in batches.items()}
    assert {mode: settings.batch_size for mode, settings in read.items()} == {
        "whole": 1,
        "slide": 4,
    }
    assert read_view_settings(batches["whole"], (8, 8), batch_size=2).batch_size == 2


@pytest.mark.parametrize(
    "section, message",
    [
        ({"mode": "tiles"}, r"eval.mode is 'tiles'; choose one of whole, slide"),
        (
            {"window": (8,)},
            r"eval.window: \(8,\) is not two positive integers, .*eval.window=64,64",
        ),
        ({"resize": (0, 8)}, r"eval.resize: \(0, 8\) is not"),
        ({"mode": "slide", "window": (8, 8), "stride": (4, 9)}, "leaves gaps"),
        ({"scales": ()}, r"eval.scales: \(\) is not at least one positive"),
        ({"scales": (1.0, -0.5)}, "eval.scales"),
        ({"scales": ("a",)}, "eval.scales: .*'a'.* is not at least one"),
        ({"multiple": 0}, "^eval.multiple is 0; it must be at least 1"),
        ({"batch_size": 0}, "eval.batch_size is 0"),
        ({"window": (8.5, 8)}, "eval.window: .*8.5, .* is not two"),
    ],
)
def test_mistakes_name_the_key(section, message):
    with pytest.raises(InputError, match=message):
        read_view_settings(section, (32, 32))


def test_arguments_are_named_without_a_section():
    with pytest.raises(InputError, match=r"^multiple is 0; it must be at least 1"):
        ViewSettings(multiple=0)
    with pytest.raises(InputError, match=r"^stride is \(9, 9\), which leaves gaps"):
        read_view_settings({"mode": "slide"}, (8, 8), stride=(9, 9))
    with pytest.raises(InputError, match=r"^strides: unknown key; did you mean stride"):
        read_view_settings({}, (8, 8), strides=(4, 4))
