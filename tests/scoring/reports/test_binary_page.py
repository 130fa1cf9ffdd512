"""Folders of two classes: probabilities, offsets and pictures, from files to the page."""

import csv
import json

import cv2
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import BinaryScores
from segalias_jax.scoring import score_folders


@pytest.fixture(scope="module")
def maps():
    """Probabilities and labels of three images: a good one, a missed one, an empty one."""
    i, j = np.indices((40, 56))
    disc = ((i - 20) ** 2 + (j - 24) ** 2 < 150).astype(np.uint8)
    smooth = cv2.GaussianBlur(disc.astype(np.float32), (0, 0), 2)
    return np.stack([smooth, 0.3 * smooth, 0 * smooth]), np.stack([disc, disc, 0 * disc])


@pytest.fixture(scope="module")
def folders(maps, tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    for kind in ("npy", "png16", "ids", "gt"):
        (root / kind).mkdir()
    for index, (probability, label) in enumerate(zip(*maps, strict=True)):
        np.save(root / "npy" / f"{index}.npy", probability)
        stored = np.round(probability * 65535).astype(np.uint16)
        cv2.imwrite(str(root / "png16" / f"{index}.png"), stored)
        cv2.imwrite(str(root / "ids" / f"{index}.png"), (probability > 0.5).astype(np.uint8))
        cv2.imwrite(str(root / "gt" / f"{index}.png"), label)
    return root


def evaluate(folders, kind, **options):
    return score_folders(
        folders / kind, folders / "gt", num_classes=2, classes=("tissue", "polyp"), **options
    )


def test_files_of_probabilities_give_the_scores_of_arrays(maps, folders, tmp_path):
    report = evaluate(folders, "npy", probabilities=True, offsets=(1, 4))
    expected = BinaryScores.empty().update(*maps).compute()
    found = report.binary.compute()
    assert {k: v.item() for k, v in found.items()} == {k: v.item() for k, v in expected.items()}
    assert found["Dice_mean_over_images"] > 0.6 and report.per_image["foreground_Dice"][2] == 1
    assert report.worst(3)[0] == 1
    report.save(tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "report.json").read_text())["summary"]
    for name in ("Dice_mean_over_images", "ROC_AUC", "IoU_pixels_of_all_images_best_threshold"):
        assert summary[name] == found[name]
    assert summary["IoU_pixels_of_all_images"] == report.scores["IoU"][1]
    assert summary["IoU_pixels_of_all_images_shifted_4px"] < summary["IoU_pixels_of_all_images"]
    rows = list(csv.DictReader((tmp_path / "out" / "per_image.csv").read_text().splitlines()))
    assert [float(row["foreground_recall"]) for row in rows][1:] == [0, 1]
    text = (tmp_path / "out" / "report.md").read_text()
    assert "F1 = Dice, mean over images" in text and "shifted by 4 px" in text
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count("<polyline") == 9 and "Foreground: polyp" in html
    assert "Shifted predictions" in html
    data = json.loads(html.split('type="application/json">')[1].split("</script>")[0])
    # Ranked by Dice of the foreground.
    assert data["table"]["columns"][0]["title"] == "Dice"
    found = dict(zip(data["table"]["names"], data["table"]["columns"][0]["values"], strict=True))
    assert found["1"] == 0 < found["0"] <= found["2"] == 1_000_000


def test_pngs_and_classes_agree_at_one_half(folders):
    exact, png, ids = (
        evaluate(folders, kind, probabilities=kind != "ids") for kind in ("npy", "png16", "ids")
    )
    name = "Dice_mean_over_images"
    assert exact.binary.compute()[name] == ids.binary.compute()[name]
    assert png.binary.compute()[name] == ids.binary.compute()[name]
    # Rounded to 16 bits, single pixels change their bin.
    for key, value in exact.binary.curves().items():
        np.testing.assert_allclose(png.binary.curves()[key], value, atol=0.02)
    assert png.binary.swept and not ids.binary.swept
    assert "best" not in ids.table() and "F1 = Dice, pixels of all images" in ids.table()


def test_offsets_of_more_classes(folders, tmp_path):
    report = score_folders(folders / "ids", folders / "gt", num_classes=3, offsets=(2, 6))
    report.save(tmp_path / "out", worst=1)
    summary = json.loads((tmp_path / "out" / "report.json").read_text())["summary"]
    assert summary["mIoU"] > summary["mIoU_shifted_2px"] > summary["mIoU_shifted_6px"]
    html = (tmp_path / "out" / "report.html").read_text()
    assert "Shifted predictions" in html and html.count("<polyline") == 1
    assert "Foreground" not in html
    assert "shifted by 6 px" in report.table() and report.binary is None


def test_mistakes_are_named(folders, tmp_path):
    with pytest.raises(InputError, match="of 2 classes, not 3; score maps of class ids"):
        score_folders(folders / "npy", folders / "gt", num_classes=3, probabilities=True)
    with pytest.raises(InputError, match="offsets: .* ascending order"):
        evaluate(folders, "ids", offsets=(5, 1))
    for index in (1, 2):
        np.save(tmp_path / f"{index}.npy", np.zeros((40, 56), np.float32))
    np.save(tmp_path / "0.npy", np.zeros((20, 56), np.float32))
    with pytest.raises(InputError, match="56x20 pixels.*resize the prediction.*bilinear"):
        score_folders(tmp_path, folders / "gt", num_classes=2, probabilities=True)
