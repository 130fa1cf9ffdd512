"""Folders of maps: what is scored, how it does not matter, and what is refused."""

import shutil

import cv2
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import SegmentationScores
from segalias_jax.scoring import folders as folder_module
from segalias_jax.scoring import score_folders

RECORDED = ("c19_64x96", "c19_129x257_sparse", "c19_multi", "c19_absent", "c19_noignore",
            "c19_perfect", "ade150_rzl", "c151_rzl")  # fmt: skip
SIZES = [(40, 60), (40, 60), (33, 70), (64, 20), (1, 30), (40, 60), (50, 50)]


def _pair(index):
    rng = np.random.default_rng(index)
    height, width = SIZES[index % len(SIZES)]
    label = rng.integers(0, 4, (8, 10)).repeat(8, 0).repeat(8, 1)[:height, :width].astype(np.uint8)
    prediction = np.roll(label, (1, 2), (0, 1)).copy()
    label[:3, :5] = 255
    return prediction, label


@pytest.fixture
def folders(tmp_path):
    """Seven pairs of four classes, of several sizes."""
    for kind in ("pred", "gt"):
        (tmp_path / kind).mkdir()
    for index in range(7):
        for kind, ids in zip(("pred", "gt"), _pair(index), strict=True):
            cv2.imwrite(str(tmp_path / kind / f"{index}.png"), ids)
    return tmp_path / "pred", tmp_path / "gt"


@pytest.mark.parametrize("threads", [1, 3])
def test_scores_are_those_of_the_device(folders, threads):
    report = score_folders(*folders, num_classes=4, threads=threads)
    state = SegmentationScores.empty(4)
    for index in range(7):
        state = state.update(*_pair(index))
    np.testing.assert_array_equal(report.state.totals(), state.totals())
    assert report.scores["pixels"] == report.per_image["pixels"].sum()
    assert [pair.name for pair in report.pairs] == [str(i) for i in range(7)]


def test_npy_and_png_score_the_same(folders, tmp_path):
    (tmp_path / "npy").mkdir()
    for index in range(7):
        np.save(tmp_path / "npy" / f"{index}.npy", _pair(index)[0].astype(np.int64))
    ours = score_folders(tmp_path / "npy", folders[1], num_classes=4)
    np.testing.assert_array_equal(ours.sums, score_folders(*folders, num_classes=4).sums)


def test_parts_of_a_folder_merge_to_the_whole(folders, tmp_path):
    states = []
    for part in (range(3), range(3, 7)):
        for kind, folder in zip(("pred", "gt"), folders, strict=True):
            target = tmp_path / f"{kind}{part.start}"
            target.mkdir()
            for index in part:
                shutil.copy(folder / f"{index}.png", target)
        names = (tmp_path / f"{kind}{part.start}" for kind in ("pred", "gt"))
        states.append(score_folders(*names, num_classes=4).state)
    whole = score_folders(*folders, num_classes=4).state
    np.testing.assert_array_equal(states[0].merge(states[1]).totals(), whole.totals())


def _break(kind):
    def size(folders):
        cv2.imwrite(str(folders[0] / "2.png"), np.zeros((10, 12), np.uint8))

    def partner(folders):
        (folders[0] / "2.png").unlink()

    def truncated(folders):
        data = (folders[0] / "2.png").read_bytes()
        (folders[0] / "2.png").write_bytes(data[: len(data) // 2])

    def value(folders):
        ids = _pair(2)[0]
        ids[20, 20] = 9
        cv2.imwrite(str(folders[0] / "2.png"), ids)

    def label_value(folders):
        ids = _pair(2)[1]
        ids[20, 20] = 9
        cv2.imwrite(str(folders[1] / "2.png"), ids)

    def color(folders):
        cv2.imwrite(str(folders[0] / "2.png"), np.zeros((33, 70, 3), np.uint8))

    return locals()[kind]


@pytest.mark.parametrize(
    "kind, message",
    [
        ("size", r"pred/2\.png: 12x10 pixels, but its label .*gt/2\.png has 70x33; resize"),
        ("partner", r"gt/2\.png: no prediction of this name in .*pred"),
        ("truncated", r"pred/2\.png: the file is truncated"),
        ("value", r"pred/2\.png.*the prediction holds the value 9, which is no class 0\.\.3"),
        ("label_value", r"gt/2\.png.*the label holds the value 9.*nor the ignored 255"),
        ("color", r"pred/2\.png: the image is RGB"),
    ],
)
def test_unusable_file_is_named_or_left_out(folders, kind, message):
    _break(kind)(folders)
    with pytest.raises(InputError, match=message):
        score_folders(*folders, num_classes=4)
    report = score_folders(*folders, num_classes=4, keep_going=True)
    assert len(report.pairs) == 6 and len(report.left_out) == 1
    assert "2" in report.left_out[0][0] and report.settings["files left out"] == 1
    assert "left out 1" in report.left_out_text()


def test_nothing_left_to_score_is_told(folders):
    with pytest.raises(InputError, match="no pair could be scored; .*holds the value"):
        score_folders(*folders, num_classes=1, keep_going=True)


def test_class_names_must_be_as_many(folders):
    with pytest.raises(InputError, match="3 names for 4 classes"):
        score_folders(*folders, num_classes=4, classes=("a", "b", "c"))


def test_official_cityscapes_ids_are_mapped(tmp_path):
    """labelIds on the true side, train ids on the predicted one."""
    for kind in ("p", "l"):
        (tmp_path / kind).mkdir()
    stored = np.repeat([7, 8, 33, 4], 5).astype(np.uint8).reshape(2, 10)
    cv2.imwrite(str(tmp_path / "l" / "a_0_0_gtFine_labelIds.png"), stored)
    cv2.imwrite(str(tmp_path / "p" / "a_0_0.png"), np.repeat([0, 1, 18, 0], 5).reshape(2, 10))
    report = score_folders(tmp_path / "p", tmp_path / "l", num_classes=19)
    assert report.scores["aAcc"] == 1 and report.scores["pixels"] == 15
    assert report.classes[0] == "road" and "train ids" in report.settings["stored ids"]


@pytest.mark.parametrize("case", RECORDED)
def test_recorded_scores_hold(golden, tmp_path, case):
    """What the published code printed and counted, from files."""
    data = golden(f"e_metrics_{case}")
    for kind in ("pred", "gt"):
        (tmp_path / kind).mkdir()
        for key in (k for k in data if k.startswith(kind)):
            path = tmp_path / kind / f"{key.removeprefix(kind)}.png"
            assert cv2.imwrite(str(path), data[key].astype(np.uint8))
    report = score_folders(
        tmp_path / "pred",
        tmp_path / "gt",
        num_classes=len(data["r.plain_all.IoU"]),
        reduce_zero_label="rzl" in case,
        threads=1,
    )
    scores, sums = report.scores, report.sums.sum(0)
    for rows, kind in zip(
        (0, 3, 6, 9, 12), ("plain", "biou", "FP", "FN", "displacement"), strict=True
    ):
        for row, name in enumerate(("area_intersect", "area_label", "area_pred"), rows):
            np.testing.assert_array_equal(sums[row], data[f"r.{kind}.{name}"])
    told = {"boundary_IoU": "BIoU", "boundary_Acc": "BAcc", "FP_rate": "FErr", "FN_rate": "MErr",
            "mdisplacement_rate": "DErr"}  # fmt: skip
    recorded = {f"all_res.{theirs}": ours for theirs, ours in told.items()}
    recorded |= {f"plain_all.{name}": name for name in ("IoU", "Acc", "Dice", "Precision", "aAcc")}
    for theirs, ours in recorded.items():
        np.testing.assert_allclose(scores[ours], data[f"r.{theirs}"], rtol=0, atol=1e-12)


def test_real_voc_predictions(real_data):
    """The numbers told with the data."""
    folder = real_data("pred_gt_pairs") / "voc_deeplabv3plus"
    told = {"1": (0.9932, 1, 0.9453, 0.99391), "23": (0.9817, 17, 0.9504, 0.98644),
            "114": (0.9905, 3, 0.9369, 0.99171)}  # fmt: skip
    report = score_folders(folder / "pred", folder / "gt", num_classes=21)
    for i, pair in enumerate(report.pairs):
        background, index, foreground, accuracy = told[pair.name]
        right, true, predicted = report.sums[i, :3].astype(float)
        assert right[0] / (true + predicted - right)[0] == pytest.approx(background, abs=5e-5)
        assert right[index] / (true + predicted - right)[index] == pytest.approx(
            foreground, abs=5e-5
        )
        assert report.per_image["aAcc"][i] == pytest.approx(accuracy, abs=5e-6)


def test_real_ade_predictions(real_data):
    folder = real_data("pred_gt_pairs") / "ade20k_csail"
    report = score_folders(folder / "pred", folder / "gt", num_classes=151, ignore_label=0)
    np.testing.assert_allclose(report.per_image["aAcc"], [0.8670, 0.8242], atol=5e-5)


def test_probabilities_are_read_once(tmp_path, monkeypatch):
    read, seen = folder_module.read_probability, []
    monkeypatch.setattr(
        folder_module, "read_probability", lambda *args: (seen.append(args), read(*args))[1]
    )
    for kind, ids in (("p", np.asarray([[0.2, 0.7]])), ("l", np.asarray([[0, 1]]))):
        (tmp_path / kind).mkdir()
        np.save(tmp_path / kind / "a.npy", ids)
    options = {"num_classes": 2, "probabilities": True}
    report = score_folders(tmp_path / "p", tmp_path / "l", **options)
    assert report.scores["mIoU"] == 1 and report.binary.swept and len(seen) == 1


@pytest.mark.parametrize("threads", [-1, 0])
def test_threads_must_be_some(folders, threads):
    with pytest.raises(InputError, match=f"^threads: {threads} must be at least 1$"):
        score_folders(*folders, num_classes=4, threads=threads)
