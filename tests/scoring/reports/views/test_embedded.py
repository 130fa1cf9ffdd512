"""Images inside a page: exact maps, striped ignored pixels, bounded sizes."""

import base64

import cv2
import numpy as np
import pytest
from page_reports import COLORS, PALETTE

from segalias_jax.scoring.reports.views.embedded import (
    Blocks,
    Panels,
    embed,
    palette_png,
)


def decoded(uri, flags=cv2.IMREAD_UNCHANGED):
    data = np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8)
    found = cv2.imdecode(data, flags)
    return cv2.cvtColor(found, cv2.COLOR_BGRA2RGBA if found.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def test_png_of_any_codes_decodes_to_its_colors():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (3, 7), (50, 33)):
        colors = rng.integers(0, 256, (256, 4)).astype(np.uint8)
        codes = rng.integers(0, 256, shape).astype(np.uint8)
        uri = "x," + base64.b64encode(palette_png(codes, colors)).decode()
        np.testing.assert_array_equal(decoded(uri), colors[codes])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_classes_have_their_colors_and_ignored_pixels_stripes(dtype):
    truth = np.asarray([[0, 1, 2, 3], [3, 2, 1, 0]], dtype).repeat(8, 1)
    label = truth.copy()
    label[:, :16] = 99 if dtype == np.uint8 else -1
    causes = np.zeros(truth.shape, np.uint8)
    causes[0, 20] = 7
    causes[:, :16] = 255
    maps = embed(Panels(None, label, truth, causes), PALETTE, COLORS)
    assert "image" not in maps
    shown = decoded(maps["truth"])
    np.testing.assert_array_equal(shown[:, 16:, :3], PALETTE[truth[:, 16:]])
    assert {tuple(p) for p in shown[:, :16, :3].reshape(-1, 3).tolist()} == {(58,) * 3, (128,) * 3}
    np.testing.assert_array_equal(decoded(maps["prediction"])[..., :3], PALETTE[truth])
    over = decoded(maps["causes"])
    assert over[0, 20].tolist() == [*COLORS[6], 255] and (over[:, 21:, 3] == 0).all()
    assert (0 < over[:, :16, 3]).all() and (over[:, :16, 3] < 255).all()


def test_more_classes_than_a_palette_holds_keep_their_colors():
    palette = np.random.default_rng(0).integers(0, 256, (300, 3)).astype(np.uint8)
    ids = np.arange(300).reshape(15, 20)
    maps = embed(Panels(None, ids, ids, np.zeros((15, 20), np.uint8)), palette, COLORS)
    np.testing.assert_array_equal(decoded(maps["truth"]), palette[ids])


@pytest.mark.parametrize("shape", [(9, 31), (10, 40), (1, 65)])
def test_large_images_are_reduced_and_single_wrong_pixels_stay(shape):
    causes = np.zeros(shape, np.uint8)
    causes[shape[0] // 2, 5] = 3
    ids = np.zeros(shape, np.uint8)
    maps = embed(
        Panels(np.zeros((*shape, 3), np.uint8), ids, ids, causes), PALETTE, COLORS, longest=16
    )
    sizes = {decoded(maps[k]).shape[:2] for k in ("image", "truth", "prediction", "causes")}
    assert len(sizes) == 1 and max(sizes.pop()) <= 17
    assert (decoded(maps["causes"])[..., 3] > 0).sum() == 1
    assert f"of its {shape[1]} x {shape[0]} pixels" in maps["remark"]


def test_blocks_against_a_plain_loop():
    rng = np.random.default_rng(1)
    causes = rng.choice(np.asarray([0, 0, 1, 5, 255], np.uint8), (23, 17))
    causes[:6, :6] = 255
    found = Blocks(23, 17, 3).causes([(slice(0, 10), causes[:10]), (slice(10, 23), causes[10:])])
    for i in range(8):
        for j in range(6):
            block = causes[3 * i : 3 * i + 3, 3 * j : 3 * j + 3].ravel().tolist()
            wrong = [v for v in block if 0 < v < 255]
            expected = max(wrong) if wrong else 255 if set(block) == {255} else 0
            assert found[i, j] == expected
