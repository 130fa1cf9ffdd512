"""Segmentation scores against the recorded ones, and the properties they must have."""

import functools

import cv2
import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from segalias_jax.errors import InputError
from segalias_jax.metrics import (
    ERROR_KINDS,
    ClassCounts,
    ScoreRules,
    SegmentationScores,
    error_kinds,
    region_map,
)
from segalias_jax.ops import morphology

CASES = [
    "c19_64x96", "c19_64x96_sparse", "c19_129x257", "c19_129x257_sparse", "c19_512x1024",
    "c19_512x1024_sparse", "c19_multi", "c19_multi_sparse", "c19_absent", "c19_noignore",
    "c19_perfect", "ade150_rzl", "ade150_rzl_single", "c151_rzl",
]  # fmt: skip
EDGE, BAND = jax.jit(morphology.label_boundary), jax.jit(morphology.boundary_band)
UPDATE = jax.jit(lambda state, prediction, label: state.update(prediction, label))


def _recorded(golden, case):
    data = golden(f"e_metrics_{case}")
    count = sum(key.startswith("pred") for key in data.files)
    return data, [(data[f"pred{i}"], data[f"gt{i}"]) for i in range(count)]


def _scored(pairs, num_classes, **rules):
    state = SegmentationScores.empty(num_classes, **rules)
    for prediction, label in pairs:
        state = UPDATE(state, prediction, label)
    return state


@pytest.fixture(scope="module")
def recorded_state(golden):
    """Returns `state(case)`, each computed once."""

    @functools.cache
    def state(case):
        return _scored(_recorded(golden, case)[1], **_settings(case))

    return state


def _settings(case):
    return {"num_classes": int(case[1:].split("_")[0].lstrip("de")),
            "reduce_zero_label": "rzl" in case}  # fmt: skip


def _equal(a, b):
    a, b = a.compute(), b.compute()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.mark.parametrize("case", CASES)
def test_recorded_counts_hold_exactly(golden, recorded_state, case):
    """Area vectors of all five passes of the published code."""
    data, _ = _recorded(golden, case)
    counts = ClassCounts.from_regions(recorded_state(case).totals())
    bands = {
        "plain": counts.all,
        "biou": counts.union,
        "FP": counts.predicted,
        "FN": counts.true,
        "displacement": counts.both,
    }
    for mode, band in bands.items():
        union = band.true + band.predicted - band.right
        np.testing.assert_array_equal(band.right, data[f"r.{mode}.area_intersect"])
        np.testing.assert_array_equal(band.true, data[f"r.{mode}.area_label"])
        np.testing.assert_array_equal(band.predicted, data[f"r.{mode}.area_pred"])
        np.testing.assert_array_equal(union, data[f"r.{mode}.area_union"])


@pytest.mark.parametrize("case", CASES)
def test_recorded_scores_hold(golden, recorded_state, case):
    """All recorded scores to 1e-12, per class and printed ones."""
    data, _ = _recorded(golden, case)
    scores = recorded_state(case).compute()
    recorded = {f"r.plain_all.{k}": scores[k] for k in ("IoU", "Acc", "Dice", "Precision",
                                                        "Recall", "aAcc")}  # fmt: skip
    recorded |= {"r.eval_metrics.aAcc": scores["aAcc"], "r.eval_metrics.IoU": scores["IoU"]}
    recorded |= {"r.biou.IoU": scores["boundary_IoU"], "r.biou.Acc": scores["boundary_Acc"]}
    for mode, letter in (("FP", "F"), ("FN", "M"), ("displacement", "D")):
        recorded[f"r.{mode}.Acc"] = 1 - scores[f"class_{letter}Err"]
        recorded[f"r.{mode}.aAcc"] = 1 - scores[f"a{letter}Err"]
    printed = {"boundary_aAcc": "boundary_aAcc", "boundary_IoU": "BIoU", "boundary_Acc": "BAcc",
               "FP_rate": "FErr", "FN_rate": "MErr", "mdisplacement_rate": "DErr",
               "FP_a_rate": "aFErr", "FN_a_rate": "aMErr",
               "mdisplacement_a_rate": "aDErr"}  # fmt: skip
    recorded |= {f"r.all_res.{theirs}": scores[ours] for theirs, ours in printed.items()}
    for key, value in recorded.items():
        np.testing.assert_allclose(value, data[key], rtol=0, atol=1e-12, err_msg=key)
    for name in ("IoU", "Acc", "Dice", "Precision", "Recall"):
        assert scores[f"m{name}"] == pytest.approx(np.nanmean(data[f"r.plain_all.{name}"]), 1e-12)


@pytest.mark.parametrize("case", CASES)
def test_recorded_share_of_stray_boundaries_holds(golden, case):
    """The two rates that are printed besides: stray edge pixels over edge plus band pixels."""
    data, pairs = _recorded(golden, case)
    sums = np.zeros((2, 2))
    for pair in pairs:
        edges = [np.asarray(EDGE(x)) for x in pair]
        bands = [np.asarray(BAND(x)) for x in pair]
        for i in range(2):
            stray = (edges[i] & ~bands[1 - i]).sum()
            sums[i] += stray, edges[i].sum() + bands[i].sum()
    rates = sums[:, 0] / sums[:, 1]
    np.testing.assert_allclose(rates[0], data["r.all_res.a_fp_rate"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(rates[1], data["r.all_res.a_fn_rate"], rtol=0, atol=1e-12)


@pytest.fixture
def pictures():
    """Eight predictions and labels of 40x56 with blobs of 5 classes and ignored pixels."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 5, (8, 5, 7)).astype(np.uint8)
    label = coarse.repeat(8, 1).repeat(8, 2).astype(np.int32)
    prediction = np.roll(label, (1, 2), (1, 2))
    flips = rng.random(label.shape) < 0.02
    prediction = np.where(flips, rng.integers(0, 5, label.shape), prediction)
    label[:, 10:14, 20:30] = 255
    return prediction.astype(np.int32), label


@pytest.mark.parametrize("cut", [0, 1, 3, 8])
def test_any_split_merges_to_the_same(pictures, cut):
    """Two states of a part each, merged, are the state of all."""
    prediction, label = pictures
    empty = SegmentationScores.empty(5)
    parts = (UPDATE(empty, prediction[s], label[s]) for s in (slice(cut), slice(cut, None)))
    _equal(empty.merge(next(parts)).merge(next(parts)), UPDATE(empty, prediction, label))


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_batch_size_does_not_matter(pictures, batch):
    """[h, w], small and large batches count the same."""
    prediction, label = pictures
    shape = (-1, batch, *label.shape[1:]) if batch > 1 else (-1, *label.shape[1:])
    pairs = zip(prediction.reshape(shape), label.reshape(shape), strict=True)
    _equal(_scored(pairs, 5), _scored([(prediction, label)], 5))


@pytest.mark.parametrize("ignore", ["reference", "exclude"])
def test_class_numbering_does_not_matter_to_the_exact_rule(pictures, ignore):
    """Permuting ids permutes the scores of classes, and nothing else."""
    prediction, label = pictures
    order = np.asarray([3, 0, 4, 1, 2])
    table = np.arange(256)
    table[:5] = order
    rules = {"boundary": "exact", "ignore": ignore}
    plain = _scored([(prediction, label)], 5, **rules).compute()
    permuted = _scored([(table[prediction], table[label])], 5, **rules)
    for key, value in permuted.compute().items():
        expected = plain[key] if np.ndim(value) == 0 else plain[key][np.argsort(order)]
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-15, err_msg=key)


@pytest.mark.parametrize("boundary", ["laplacian", "exact"])
@pytest.mark.parametrize("ignore", ["reference", "exclude"])
def test_scores_are_those_of_five_plain_passes(pictures, boundary, ignore):
    """NumPy and OpenCV, one boolean mask for each score."""
    prediction, label = pictures
    rules = ScoreRules(boundary, ignore, width=7)
    pairs = [(prediction, label)]
    scores = _scored(pairs, 5, boundary=boundary, ignore=ignore, width=7).compute()

    def band(ids, excluded):
        edges = np.asarray(morphology.label_boundary(ids, rule=boundary, ignore=excluded))
        square = np.ones((7, 7), np.uint8)
        return np.stack([cv2.dilate(e, square) for e in edges.astype(np.uint8)]).astype(bool)

    predicted = band(prediction, None)
    true = band(label, 255 if ignore == "exclude" else None)
    np.testing.assert_array_equal(region_map(prediction, label, rules), predicted + 2 * true)

    def mean_error(mask):
        mask = mask & (label != 255)
        return 1 - np.nanmean([(prediction == label)[mask & (label == c)].mean() for c in range(5)])

    assert scores["FErr"] == pytest.approx(mean_error(predicted))
    assert scores["MErr"] == pytest.approx(mean_error(true))
    assert scores["DErr"] == pytest.approx(mean_error(predicted & true))
    assert 1 - scores["BAcc"] == pytest.approx(mean_error(predicted | true))


def test_error_kinds_add_up(pictures):
    """The picture of kinds holds the shares that the scores state."""
    prediction, label = pictures
    rules = ScoreRules(width=5)
    kinds = np.asarray(jax.jit(lambda p, t: error_kinds(p, t, rules))(prediction, label))
    scores = _scored([(prediction, label)], 5, width=5).compute()
    np.testing.assert_array_equal(kinds == 255, label == 255)
    np.testing.assert_array_equal(kinds == 0, (prediction == label) & (label != 255))
    for kind in range(1, 5):
        name = ERROR_KINDS[kind].replace(" ", "_")
        assert scores[name] == pytest.approx((kinds == kind).sum() / (label != 255).sum())
    wrong = sum(scores[n.replace(" ", "_")] for n in ERROR_KINDS[1:])
    assert wrong == pytest.approx(1 - scores["aAcc"])


def test_invalid_predictions_are_errors_of_no_class(pictures):
    """They lower accuracy; no class's predicted area grows; their number is told."""
    prediction, label = pictures
    broken = prediction.copy()
    broken[:, :6] = 7
    broken[:, 6] = -1
    state = _scored([(broken, label)], 5)
    scores, counts = state.compute(), state.totals().sum(0)
    lost = label[:, :7] != 255
    assert scores["invalid_predictions"] == lost.sum()
    assert counts[:, :5].sum() == (label != 255).sum() - lost.sum()
    right = ((prediction == label)[:, 7:] & (label[:, 7:] != 255)).sum()
    assert scores["aAcc"] == pytest.approx(right / (label != 255).sum())


def test_labels_that_are_no_class_raise(pictures):
    """A label 5 with 5 classes ends in a sentence, not in a score."""
    prediction, label = pictures
    label[0, 0, 0] = 5
    state = _scored([(prediction, label)], 5)
    with pytest.raises(InputError, match="1 pixels are neither one of the 5 classes"):
        state.compute()


def test_zero_label_is_reduced_after_its_boundaries():
    """0 is ignored and k is class k - 1; 0 makes edges only under "reference"."""
    raw = np.ones((20, 20), np.uint8)
    raw[:, 10:] = 0
    prediction = np.zeros((20, 20), np.uint8)
    for ignore, expected in (("reference", 2), ("exclude", 0)):
        rules = ScoreRules(reduce_zero_label=True, ignore=ignore)
        assert np.asarray(region_map(prediction, raw, rules)).max() == expected
        state = SegmentationScores.empty(2, reduce_zero_label=True, ignore=ignore)
        scores = state.update(prediction, raw).compute()
        assert scores["pixels"] == 200 and scores["aAcc"] == 1


def test_zero_becomes_255_before_boundaries_are_drawn():
    """A ramp of ids: beside 1 | 2 a 0 would cancel, and a 255 does not; 0 | 255 is no boundary.

    The Laplacian of the published ids 255 1 2 3 4 9 255 255, by hand.
    """
    label = np.asarray([[0, 1, 2, 3, 4, 9, 0, 255]], np.uint8)
    rules = ScoreRules(reduce_zero_label=True, width=1)
    prediction = np.zeros_like(label)
    assert region_map(prediction, label, rules).tolist() == [[2, 2, 0, 0, 2, 2, 2, 0]]
    exact = ScoreRules("exact", reduce_zero_label=True, width=1)
    assert region_map(prediction, label, exact).tolist() == [[2, 2, 2, 2, 2, 2, 2, 0]]


def test_padding_labels_count_nothing(pictures):
    """A picture whose label is ignored everywhere changes no count."""
    prediction, label = pictures
    padding = (prediction, np.full_like(label, 255))
    _equal(_scored([(prediction, label)], 5), _scored([(prediction, label), padding], 5))


def test_counts_beyond_32_bits():
    """40 doublings of one picture are exact."""
    label = np.zeros((8, 8), np.uint8)
    state = SegmentationScores.empty(1).update(label, label)
    merge = jax.jit(SegmentationScores.merge)
    for _ in range(40):
        state = merge(state, state)
    assert state.compute()["pixels"] == 64 * 2**40


def test_sharded_batch_and_mapped_axis(pictures):
    """A batch over all devices under jit, and a sum over a mapped axis, count the same."""
    prediction, label = pictures
    expected = _scored([(prediction, label)], 5)
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    sharded = jax.device_put((prediction, label), sharding)
    _equal(UPDATE(SegmentationScores.empty(5), *sharded), expected)

    def per_device(p, t):
        return SegmentationScores.empty(5).update(p, t).psum("i")

    summed = jax.jit(jax.vmap(per_device, axis_name="i"))(prediction, label)
    _equal(jax.tree.map(lambda x: x[0], summed), expected)


def test_wrong_settings_are_named(pictures):
    """Unknown rules list the choices; unequal shapes and rules are told."""
    with pytest.raises(InputError, match="boundary rule 'sobel'.*laplacian, exact"):
        SegmentationScores.empty(5, boundary="sobel")
    with pytest.raises(InputError, match="ignore rule 'never'.*reference, exclude"):
        SegmentationScores.empty(5, ignore="never")
    with pytest.raises(InputError, match="width"):
        SegmentationScores.empty(5, width=0)
    with pytest.raises(InputError, match="num_classes"):
        SegmentationScores.empty(0)
    with pytest.raises(InputError, match="do not merge"):
        SegmentationScores.empty(5).merge(SegmentationScores.empty(5, boundary="exact"))
    with pytest.raises(InputError, match="resize the prediction"):
        SegmentationScores.empty(5).update(pictures[0][:, :20], pictures[1])


def test_real_voc_predictions(real_data):
    """DeepLabV3+ on three VOC pictures: the numbers told with the data."""
    folder = real_data("pred_gt_pairs") / "voc_deeplabv3plus"
    told = {"1": (0.9932, 1, 0.9453, 0.99391), "23": (0.9817, 17, 0.9504, 0.98644),
            "114": (0.9905, 3, 0.9369, 0.99171)}  # fmt: skip
    for name, (background, index, foreground, accuracy) in told.items():
        pair = [cv2.imread(str(folder / k / f"{name}.png"), cv2.IMREAD_UNCHANGED)
                for k in ("pred", "gt")]  # fmt: skip
        scores = _scored([pair], 21).compute()
        assert scores["IoU"][0] == pytest.approx(background, abs=5e-5)
        assert scores["IoU"][index] == pytest.approx(foreground, abs=5e-5)
        assert scores["aAcc"] == pytest.approx(accuracy, abs=5e-6)


def test_real_ade_predictions(real_data):
    """Two ADE20K pictures, labels with 0 = ignored, predictions 1..150 made 0..149."""
    folder = real_data("pred_gt_pairs") / "ade20k_csail"
    for name, accuracy in (("ADE_val_00000278", 0.8670), ("ADE_val_00001519", 0.8242)):
        prediction, label = (cv2.imread(str(folder / k / f"{name}.png"), cv2.IMREAD_UNCHANGED)
                             for k in ("pred", "gt"))  # fmt: skip
        scores = _scored([(prediction - 1, label)], 150, reduce_zero_label=True).compute()
        assert scores["aAcc"] == pytest.approx(accuracy, abs=5e-5)
        direct = _scored([(prediction, label)], 151, ignore_label=0).compute()
        np.testing.assert_array_equal(direct["IoU"][1:], scores["IoU"])


def test_the_last_of_256_classes_is_not_ignored_in_silence():
    with pytest.raises(InputError, match="^ignore_label: 255 is also one of 256 classes"):
        SegmentationScores.empty(256)
    label = np.asarray([[255, 255, 0, -1]])
    scores = SegmentationScores.empty(256, ignore_label=-1).update(label, label)
    assert scores.compute()["pixels"] == 3 and scores.compute()["aAcc"] == 1
