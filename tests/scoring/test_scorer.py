"""Maps in memory: arrays of any library, the scores of folders, exact states."""

import copy
import json
import pickle

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from counted_maps import maps

from segalias_jax.errors import InputError
from segalias_jax.metrics.distance_counts import DistanceSettings
from segalias_jax.scoring import Scorer, merge_reports, score_folders

OPTIONS = {"offsets": (1,), "width": 5, "distances": DistanceSettings(), "tolerances": (2,)}


def assert_equal(one, other):
    assert list(one) == list(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_scores_are_those_of_folders(tmp_path):
    """Of single images, of a batch, and of both merged."""
    scorer, batch = Scorer(4, **OPTIONS), [maps(i) for i in range(4)]
    for i in (0, 1):
        assert scorer.update(*batch[i], name=f"im{i}") is scorer
    other = Scorer(4, **OPTIONS)
    other.update(*map(np.stack, zip(*batch[2:], strict=True)), name=["im2", "im3"])
    for i, pair in enumerate(batch):
        for kind, ids in zip("pl", pair, strict=True):
            (tmp_path / kind).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / kind / f"im{i}.png"), ids)
    folders = score_folders(tmp_path / "p", tmp_path / "l", num_classes=4, **OPTIONS)
    assert scorer.merge(other) is scorer and len(scorer) == 4
    scores = scorer.compute()
    expected = folders.scores | folders.further
    assert_equal(scores, expected)
    assert isinstance(scores["mIoU"], float) and scores["IoU"].shape == (4,)
    scorer.report(tmp_path / "one")
    folders.save(tmp_path / "two")
    for name in ("objects.csv", "per_image.csv", "per_image_class.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    merged = merge_reports([tmp_path / "one"])
    assert_equal(merged.scores | merged.further, expected)


class Tensor:
    """What a tensor of PyTorch on a device offers, as far as it is used."""

    def __init__(self, array, dtype, *, host=False):
        self.array, self.dtype, self.shape, self.host = array, dtype, array.shape, host

    def detach(self):
        return self

    def cpu(self):
        return Tensor(self.array, self.dtype, host=True)

    def float(self):
        return Tensor(self.array.astype(np.float32), "torch.float32", host=self.host)

    def numpy(self):
        assert self.host and "bfloat16" not in self.dtype
        return self.array

    def __array__(self, *args, **kwargs):
        raise TypeError("can't convert a device's tensor")


def test_arrays_of_any_library_count_the_same():
    prediction, label = maps()
    expected = Scorer(4).update(prediction, label).to_json()
    for one, other in (
        (jnp.asarray(prediction), jnp.asarray(label)),
        (Tensor(prediction.astype(np.int64), "torch.int64"), Tensor(label, "torch.uint8")),
        (prediction.tolist(), label.astype(np.uint16)),
    ):
        assert Scorer(4).update(one, other).to_json() == expected
    binary = [maps(classes=2)[i] % 2 for i in (0, 1)]
    ours = Scorer(2).update(binary[0].astype(bool), binary[1].astype(bool)).to_json()
    assert ours == Scorer(2).update(*binary).to_json()


def test_real_tensors():
    torch = pytest.importorskip("torch")
    prediction, label = maps()
    logits = torch.nn.functional.one_hot(torch.tensor(prediction.astype(np.int64)), 4)
    logits = logits.permute(2, 0, 1).float()[None].requires_grad_()
    scorer = Scorer(4).update(logits.argmax(1), torch.tensor(label.astype(np.int64))[None])
    assert scorer.to_json() == Scorer(4).update(prediction, label).to_json()
    with pytest.raises(InputError, match="holds float32 numbers .*argmax"):
        scorer.update(logits, torch.tensor(label)[None])
    half = torch.rand(label.shape).to(torch.bfloat16)
    Scorer(2, probabilities=True).update(half, (label % 2))


@pytest.mark.parametrize(
    "prediction, label, message",
    [
        (np.zeros((4, 5), np.float32), np.zeros((4, 5), int), "prediction: holds float32.*argmax"),
        (np.zeros((1, 3, 4, 5)), np.zeros((1, 4, 5), int), "argmax over the axis of classes"),
        (np.zeros((3, 4, 5), int), np.zeros((4, 5), int), "has an axis more.*argmax"),
        (jnp.zeros((4, 5), jnp.bfloat16), np.zeros((4, 5), int), "holds bfloat16"),
        (np.zeros((4, 5), int), np.zeros((4, 5)), "label: holds float64"),
        (np.zeros((4, 5), int), np.zeros((5, 4), int), r"prediction of shape \(4, 5\), label of"),
        (np.zeros(4, int), np.zeros(4, int), r"neither \[h, w\] nor \[b, h, w\]"),
        (np.full((4, 5), 7), np.zeros((4, 5), int), "the prediction holds the value 7"),
        (np.full((4, 5), "a"), np.zeros((4, 5), int), "prediction: holds <U1 values"),
    ],
)
def test_what_is_no_map_is_refused(prediction, label, message):
    scorer = Scorer(3)
    with pytest.raises(InputError, match=message):
        scorer.update(prediction, label)
    assert len(scorer) == 0


def test_of_a_batch_with_an_error_nothing_is_counted():
    prediction, label = np.zeros((2, 4, 5), int), np.zeros((2, 4, 5), int)
    prediction[1, 0, 0] = 9
    scorer = Scorer(3)
    with pytest.raises(InputError, match="image 1 of the batch: the prediction holds the value 9"):
        scorer.update(prediction, label, name=["a", "b"])
    assert len(scorer) == 0
    prediction[1, 0, 0] = 0
    assert len(scorer.update(prediction, label, name=["a", "b"])) == 2


def test_probabilities_are_scored_at_all_thresholds():
    label = np.random.default_rng(0).integers(0, 2, (8, 9))
    scorer = Scorer(2, probabilities=True).update(0.3 + 0.4 * label, label)
    assert scorer.compute()["ROC_AUC"] == 1
    with pytest.raises(InputError, match=r"outside of \[0, 1\].*sigmoid"):
        scorer.update(8.0 * label - 4, label)


def test_states_are_exact_in_json_and_between_processes():
    scorer = Scorer(4, classes=tuple("abcd"), **OPTIONS)
    scorer.update(*maps(0), name="x").update(*maps(1))
    text = scorer.to_json()
    json.loads(text)
    for again in (
        Scorer.from_json(text),
        pickle.loads(pickle.dumps(scorer)),
        copy.deepcopy(scorer),
    ):
        assert again.to_json() == text
        assert_equal(again.compute(), scorer.compute())
        assert len(again.update(*maps(2))) == 3 and len(scorer) == 2
    for wrong in ("", "{}", text[:-9], '{"form": 9}'):
        with pytest.raises(InputError, match="state of a scorer"):
            Scorer.from_json(wrong)


def test_parts_merge_to_the_whole():
    whole, parts = Scorer(4), [Scorer(4), Scorer(4)]
    for i in range(6):
        whole.update(*maps(i))
        parts[i // 3].update(*maps(i))
    assert_equal(parts[0].merge(parts[1]).compute(), whole.compute())
    assert len(parts[1]) == 3
    twice = parts[1].merge(parts[1])
    assert len(twice) == 6 and twice.compute()["pixels"] == sum(
        2 * (maps(i)[1] != 255).sum() for i in (3, 4, 5)
    )


def test_names_are_numbers_that_no_image_was_given():
    scorer = Scorer(4).update(*maps(0)).update(*maps(1), name="000000").update(*maps(2))
    names = [image.name for image in scorer.report().images]
    assert names == ["000000", "000000_", "000002"]
    with pytest.raises(InputError, match="'000000' was counted before"):
        scorer.update(*maps(3), name="000000")
    with pytest.raises(InputError, match="2 names for 1 images"):
        scorer.update(*maps(3), name=["a", "b"])
    with pytest.raises(InputError, match="image '000000' is in both"):
        scorer.merge(Scorer(4).update(*maps(1), name="000000"))


def test_scorers_of_other_settings_do_not_merge():
    for other, message in (
        (Scorer(5), "num_classes 5, not 4"),
        (Scorer(4, width=3), "width 3, not 15"),
        (Scorer(4, causes=None), "coverage None, not 0.25"),
        (Scorer(4, classes="abcd"), "other names of classes"),
    ):
        with pytest.raises(InputError, match=message):
            Scorer(4).merge(other)
    with pytest.raises(InputError, match="3 names for 4 classes"):
        Scorer(4, classes="abc")


def test_reset_forgets_all():
    scorer = Scorer(4).update(*maps(0), name="a")
    assert scorer.reset() is scorer and len(scorer) == 0
    assert np.isnan(scorer.compute()["mIoU"])
    scorer.update(*maps(0), name="a")
