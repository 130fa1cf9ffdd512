"""The evaluation loop: padding, sizes, samples, sharding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from segalias_jax.errors import InputError
from segalias_jax.evaluation import SlidingPredictor, ViewSettings, evaluate
from segalias_jax.metrics import SegmentationScores, confusion

PREDICT = jax.jit(lambda image: (image[..., 0] // 64).astype(jnp.int32))


@jax.jit
def _logits(image):
    return jax.nn.one_hot(image[..., 0] // 64, 4)


def _data(count, size=(24, 32), seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (count, *size, 3)).astype(np.uint8)
    label = (image[..., 0] // 64).astype(np.int32)
    label[rng.random(label.shape) < 0.2] = 1
    label[:, :3] = 255
    return image, label


def _batches(image, label, batch_size):
    for start in range(0, len(image), batch_size):
        rows = slice(start, start + batch_size)
        missing = batch_size - len(image[rows])
        pad = [(0, missing), (0, 0), (0, 0)]
        yield {
            "image": np.pad(image[rows], [*pad, (0, 0)]),
            "label": np.pad(label[rows], pad),
            "valid": np.arange(batch_size) < batch_size - missing,
            "name": [f"picture {i}" for i in range(start, start + batch_size - missing)],
        }


def _numbers(scores):
    return {k: np.asarray(v).tolist() for k, v in scores.compute().items()}


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_padding_and_batch_size_change_nothing(batch_size):
    """Rows that pad the last batch hold label 0, a class, and still count nowhere."""
    image, label = _data(5)
    result = evaluate(PREDICT, _batches(image, label, batch_size), num_classes=4)
    expected = SegmentationScores.empty(4).update(image[..., 0] // 64, label)
    assert _numbers(result.scores) == _numbers(expected)
    assert result.samples == ()


def test_pictures_of_several_sizes():
    """Batches of different sizes add up."""
    sets = [_data(2), _data(1, (17, 40), seed=1)]
    batches = [batch for pair in sets for batch in _batches(*pair, 2)]
    scores = evaluate(PREDICT, batches, num_classes=4).scores
    assert scores.compute()["pixels"] == sum((label != 255).sum() for _, label in sets)


@pytest.mark.parametrize(
    ("keep", "total", "names"),
    [(0, 7, []), (3, 7, [0, 3, 6]), (3, None, [0, 1, 2]), (9, 7, range(7)), (1, 7, [0])],
)
def test_samples_are_spread_over_the_data(keep, total, names):
    """Evenly where the total is known, the first ones where it is not."""
    image, label = _data(7)
    result = evaluate(PREDICT, _batches(image, label, 2), num_classes=4, keep=keep, total=total)
    assert [s.name for s in result.samples] == [f"picture {i}" for i in names]
    for i, sample in zip(names, result.samples, strict=True):
        np.testing.assert_array_equal(sample.image, image[i])
        np.testing.assert_array_equal(sample.label, label[i])
        np.testing.assert_array_equal(sample.prediction, image[i, ..., 0] // 64)


def test_sharded_predictions():
    """Predictions that lie on all devices."""
    devices = jax.device_count()
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    image, label = _data(devices + 1)
    batches = list(_batches(image, label, devices))
    found = evaluate(lambda x: PREDICT(jax.device_put(x, sharding)), batches, num_classes=4, keep=1)
    expected = evaluate(PREDICT, batches, num_classes=4)
    assert _numbers(found.scores) == _numbers(expected.scores)


@pytest.mark.parametrize("ignore", ["reference", "exclude"])
def test_predictions_of_single_images_are_counted_on_the_host(ignore):
    """The same counts and samples as on the device, for pictures of several sizes."""
    sets = [_data(2), _data(2, (17, 40), seed=1)]
    batches = [batch for pair in sets for batch in _batches(*pair, 1)]
    slider = SlidingPredictor(_logits, ViewSettings("slide", (12, 16), (8, 10)))
    options = {"num_classes": 4, "ignore": ignore, "keep": 3, "total": 4}
    found = evaluate(lambda image: slider.start(image[0]), batches, **options)
    expected = evaluate(PREDICT, batches, **options)
    assert _numbers(found.scores) == _numbers(expected.scores)
    for a, b in zip(found.samples, expected.samples, strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(a.prediction, b.prediction)


def test_batches_and_single_images_add_up():
    """Of one pass, some predictions may be arrays and others of single images."""
    image, label = _data(4)
    label = np.where(label == 255, 255, label % 2)
    slider = SlidingPredictor(lambda x: jax.nn.one_hot(x[..., 0] // 128, 2), ViewSettings())

    def predict(image):
        classes = (image[..., 0] // 128).astype(np.int32)
        return slider.start(image[0]) if len(image) == 1 else classes

    batches = list(_batches(image[:3], label[:3], 3)) + list(_batches(image[3:], label[3:], 1))
    found = evaluate(predict, batches, num_classes=2)
    expected = evaluate(predict, _batches(image, label, 4), num_classes=2)
    assert _numbers(found.scores) == _numbers(expected.scores)
    jax.tree.map(np.testing.assert_array_equal, found.binary, expected.binary)


def test_rules_reach_the_scores():
    """Every scoring argument is in the state; an unknown rule is refused before predicting."""
    rules = {"boundary": "exact", "ignore": "exclude", "reduce_zero_label": True, "width": 5}
    state = evaluate(PREDICT, [], num_classes=4, **rules).scores
    assert {key: getattr(state.rules, key) for key in rules} == rules
    with pytest.raises(InputError, match="sobel"):
        evaluate(PREDICT, [], num_classes=4, boundary="sobel")


def test_short_pass_shows_no_bar(capsys):
    """A bar with a title stays hidden for the first two seconds."""
    image, label = _data(2)
    evaluate(PREDICT, _batches(image, label, 1), num_classes=4, progress="scoring", total=2)
    assert "scoring" not in capsys.readouterr().err


def test_two_classes_are_scored_at_all_thresholds():
    """Logits of a batch, and windows that kept their probabilities; padded rows count nowhere."""
    image, label = _data(5)
    label = np.where(label == 255, 255, label % 2)

    @jax.jit
    def logits(image):
        # The level 128 is a tie, which is the background's.
        margin = image[..., 1].astype(jnp.float32) / 32 - 4
        return jnp.stack([0 * margin, margin], -1)

    slider = SlidingPredictor(logits, ViewSettings("slide", (12, 16), (8, 10)))

    def windows(image):
        return slider.start(image[0], probabilities=True)

    batch = evaluate(logits, _batches(image, label, 3), num_classes=2)
    single = evaluate(windows, _batches(image, label, 1), num_classes=2)
    assert _numbers(batch.scores) == _numbers(single.scores)
    jax.tree.map(np.testing.assert_array_equal, batch.binary, single.binary)
    found, expected = batch.binary.compute(), batch.scores.compute()
    assert found["images"] == 5 and batch.binary.swept
    assert found["IoU_pixels_of_all_images"] == expected["IoU"][1]
    bins = np.clip(np.ceil(256 / (1 + np.exp(4 - image[..., 1] / 32.0))), 1, 256).astype(int) - 1
    for true, counts in enumerate(confusion.wide_total(batch.binary.counts)):
        np.testing.assert_array_equal(counts, np.bincount(bins[label == true], minlength=256))
    assert evaluate(PREDICT, [], num_classes=4).binary is None


def test_the_larger_logit_decides_however_close():
    above = np.nextafter(np.float32(2), np.float32(3))
    logits = np.asarray([2, above, 2, 2, 2, 2, above, 2], np.float32).reshape(1, 2, 2, 2)
    label = np.asarray([[[1, 1], [0, 0]]])
    batch = {"image": np.zeros((1, 2, 2, 3), np.uint8), "label": label, "valid": np.ones(1, bool)}
    result = evaluate(lambda image: logits, [batch], num_classes=2)
    binary = result.binary.compute()
    assert binary["IoU_pixels_of_all_images"] == result.scores.compute()["IoU"][1] == 0.5
