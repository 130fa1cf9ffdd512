"""Windows against plain loops and against the published code; what is compiled; who waits."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import published
import pytest
from flax import nnx
from golden.recipe import recipe_array, recipe_input
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.evaluation import sliding
from segalias_jax.evaluation.sliding import SlidingPredictor
from segalias_jax.evaluation.views import ViewSettings, view_images, window_starts

WEIGHT = np.random.default_rng(1).normal(size=(3, 3, 3, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks a picture, and quick ones."""
    monkeypatch.setattr(sliding, "BLOCK", 40)


@jax.jit
def small_network(x):
    """A convolution over a window and its mean: what lies outside of a window matters."""
    x = x.astype(jnp.float32) / 64
    x = x - x.mean((1, 2), keepdims=True)
    return ops.conv2d(x, jnp.asarray(WEIGHT), padding=1)


def make_image(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def plain_logits(image, settings, size, align_corners=False):
    """The definition: sums and counts of windows, then one resizing."""
    height, width = image.shape[:2]
    window = image.shape[:2]
    stride = window
    if settings.mode == "slide":
        window, stride = tuple(map(min, settings.window, window)), settings.stride
    total, count = np.zeros((height, width, 5)), np.zeros((height, width, 1))
    for top in window_starts(height, window[0], stride[0]):
        for left in window_starts(width, window[1], stride[1]):
            here = slice(top, top + window[0]), slice(left, left + window[1])
            total[here] += np.asarray(small_network(image[here][None]))[0]
            count[here] += 1
    mean = jnp.asarray(total / count, jnp.float32)
    return np.asarray(ops.resize_bilinear(mean, size, align_corners=align_corners))


CASES = {
    "several windows": ((50, 71), ViewSettings("slide", (24, 32), (16, 20), batch_size=4)),
    "one at a time": ((50, 71), ViewSettings("slide", (24, 32), (16, 20))),
    "no overlap": ((48, 64), ViewSettings("slide", (24, 32), (24, 32), batch_size=3)),
    "threefold overlap": ((40, 40), ViewSettings("slide", (24, 24), (7, 8), batch_size=2)),
    "smaller than a window": ((20, 71), ViewSettings("slide", (24, 32), (16, 20), batch_size=2)),
    "whole": ((50, 71), ViewSettings()),
    "resized": ((50, 71), ViewSettings("slide", (24, 32), (16, 20), resize=(100, 64))),
}


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_definition(case, align_corners):
    size, settings = CASES[case]
    image = make_image(size)
    predictor = SlidingPredictor(small_network, settings, align_corners=align_corners)
    # The second time, the canvas is full of what the first one left there.
    predictor.start(make_image((90, 90), seed=2))
    ((view, _),) = view_images(image, settings)
    expected = plain_logits(view, settings, size, align_corners)
    found = predictor.start_views([(view, False)], size, logits=True)
    # Both sides round in float32; sums of up to 16 windows of logits up to 30.
    np.testing.assert_allclose(found.scores(), expected, rtol=0, atol=2e-5)
    classes = predictor.start(image).classes()
    assert classes.dtype == np.uint8
    assert (classes == expected.argmax(-1)).mean() > 0.9999


@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_probabilities_of_scales_and_flipped_images_are_averaged(mode):
    size = (45, 62)
    settings = ViewSettings(mode, (24, 32), (16, 20), scales=(0.7, 1.0, 1.3), flip=True)
    image = make_image(size)
    expected = 0
    for view, flipped in view_images(image, settings):
        logits = plain_logits(view, settings, size)
        logits = logits[:, ::-1] if flipped else logits
        expected += np.asarray(jax.nn.softmax(logits)) / 6
    prediction = SlidingPredictor(small_network, settings).start(image)
    np.testing.assert_allclose(prediction.scores(), expected, rtol=0, atol=1e-5)
    assert (prediction.classes() == expected.argmax(-1)).mean() > 0.999


def test_probabilities_of_one_view_are_those_of_its_logits():
    image = make_image((30, 40))
    prediction = SlidingPredictor(small_network, ViewSettings()).start(image, probabilities=True)
    expected = jax.nn.softmax(small_network(image[None])[0])
    np.testing.assert_allclose(prediction.scores(), expected, rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="start the prediction with probabilities=True"):
        SlidingPredictor(small_network, ViewSettings()).start(image).scores()


@contextlib.contextmanager
def counted_programs():
    count = [0]

    def listen(event, duration, **_):
        count[0] += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield count
    jax.monitoring.unregister_event_duration_listener(listen)


def test_fifty_sizes_take_three_programs():
    """The network, adding windows, reading blocks; also with a resized and a flipped view."""
    settings = ViewSettings("slide", (24, 24), (16, 16), scales=(1.0, 1.5), flip=True, batch_size=4)
    # No other test has networks of two classes, whose programs would be there already.
    network = jax.jit(lambda x: x[..., :2].astype(jnp.float32))
    predictor = SlidingPredictor(network, settings)
    with counted_programs() as count:
        for n in range(50):
            image = make_image((24 + (7 * n) % 31, 24 + n))
            predictor.start(image).classes()
        assert count[0] == 3
        predictor.start(make_image((24, 600))).classes()
        assert count[0] == 5  # a larger canvas


def test_windows_split_over_devices():
    devices = jax.device_count()
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    settings = ViewSettings("slide", (24, 32), (16, 20), batch_size=devices)
    image = make_image((50, 71))
    found, expected = (
        SlidingPredictor(forward, settings).start(image, probabilities=True).scores()
        for forward in (lambda x: small_network(jax.device_put(x, sharding)), small_network)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_memory_is_bounded_by_the_batch_size():
    """No more windows are made at a time, and no more than three batches of logits are alive."""
    seen, alive = [], []

    def forward(windows):
        seen.append(len(windows))
        logits = small_network(windows)
        alive.append(sum(x.shape == logits.shape for x in jax.live_arrays()))
        return logits

    settings = ViewSettings("slide", (16, 16), (8, 8), batch_size=3)
    SlidingPredictor(forward, settings).start(make_image((64, 80))).classes()
    assert set(seen) == {3} and len(seen) == 21
    assert max(alive) <= 4  # the one just made among them


def test_more_classes_than_a_byte_holds_are_refused():
    network = jax.jit(lambda x: jnp.zeros((*x.shape[:3], 256)))
    with pytest.raises(InputError, match="at most 255 classes, not 256"):
        SlidingPredictor(network, ViewSettings()).start(make_image((4, 4)))


@pytest.fixture(scope="module")
def recorded_network():
    config = {"width": 16, "channels": 16, "auxiliary_channels": 32, "cutoff": 0.35}
    config |= {"band": "reference", "gate": "corner", "downsample": "daf", "mixer": "freqmix"}
    model = published.create_published(config, recipe_array)
    model.eval()
    graph, state = nnx.split(model)
    # Compiling takes most of the time; what it saves on three small images is nothing.
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    run = jax.jit(lambda state, x: nnx.merge(graph, state)(x), compiler_options=options)
    return lambda x: run(state, x)


def test_published_windows(golden, recorded_network):
    """Every recorded case: logits to 1e-4, and at most 0.01 % of pixels of another class."""
    recorded = golden("g_slide")
    image = np.moveaxis(recipe_input((1, 3, 129, 257), 700), 1, -1)[0]
    size, corner = image.shape[:2], np.ascontiguousarray(image[:80, :90])
    slide = SlidingPredictor(
        recorded_network, ViewSettings("slide", (96, 96), (64, 64), batch_size=2)
    )
    whole = SlidingPredictor(recorded_network, ViewSettings())
    flipped = np.ascontiguousarray(image[:, ::-1])
    found = {
        "slide": slide.start_views([(image, False)], size, logits=True),
        "slide_logits_ori100x200": slide.start_views([(image, False)], (100, 200), logits=True),
        "slide_logits_image_smaller_than_crop": slide.start_views(
            [(corner, False)], (80, 90), logits=True
        ),
        "tta_flip_pred": slide.start_views([(image, False), (flipped, True)], size),
        "whole_pred": whole.start_views([(image, False)], size),
    }
    found |= {"slide_logits": found["slide"], "slide_pred": found.pop("slide")}
    assert found.keys() == set(recorded.files)
    for name, prediction in found.items():
        if "logits" in name:
            logits = np.moveaxis(prediction.scores(), -1, 0).reshape(-1)
            # The repository has a sample of the recorded logits.
            step = -(-logits.size // recorded[name].size)
            np.testing.assert_allclose(
                logits[::step], recorded[name].reshape(-1), rtol=0, atol=1e-4, err_msg=name
            )
        else:
            assert (prediction.classes() != recorded[name][0]).mean() <= 1e-4, name
