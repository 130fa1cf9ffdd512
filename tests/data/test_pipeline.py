import itertools
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from faults.killing import ended

from segalias_jax.data import (
    check_crop,
    create_source,
    eval_batches,
    resume_step,
    stream_state,
    train_batches,
)
from segalias_jax.data.geometry import MEAN_COLOR
from segalias_jax.errors import InputError

CONFIG = {
    "source": "synthetic",
    "image_size": (40, 48),
    "num_train": 7,
    "num_eval": 5,
    "crop": (32, 32),
    "threads": 2,
}


class Plain:
    """Images of given sizes; pixel and label hold the index. Module level: workers pickle it."""

    classes = ("a", "b")
    palette = np.zeros((2, 3), np.uint8)

    def __init__(self, *sizes):
        self.sizes = sizes
        self.names = [f"n{index}" for index in range(len(sizes))]

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        size = self.sizes[index]
        return {
            "image": np.full((*size, 3), index, np.uint8),
            "label": np.full(size, index, np.uint8),
        }

    def size(self, index):
        return self.sizes[index]

    def check(self, index):
        pass


class Noise(Plain):
    """Small random images: whatever is cut out of one can be told from everything else."""

    def __init__(self, count):
        super().__init__(*[(12, 14)] * count)

    def __getitem__(self, index):
        pixels = np.random.default_rng(index).integers(0, 256, (12, 14, 4), np.uint8)
        return {"image": pixels[..., :3].copy(), "label": pixels[..., 3].copy()}


@pytest.fixture(scope="module")
def source():
    return create_source(CONFIG, "train")


def take(source, count, config=CONFIG, **options):
    options = {"batch_size": 4, "seed": 0} | options
    return list(itertools.islice(train_batches(config, source, **options), count))


def assert_equal(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


def joined(parts):
    """The batches of all processes, one part behind the other."""
    return [
        {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
        for batches in zip(*parts, strict=True)
    ]


def test_batch_contents(source):
    (batch,) = take(source, 1)
    assert batch["image"].shape == (4, 32, 32, 3) and batch["image"].dtype == np.uint8
    assert batch["label"].shape == (4, 32, 32) and batch["label"].dtype == np.int32
    assert batch["valid"].dtype == bool and batch["valid"].all()


def test_stream_depends_on_the_seed_alone(source):
    batches = take(source, 3)
    assert_equal(batches, take(source, 3, CONFIG | {"threads": 5}))
    other = take(source, 1, seed=1)
    assert (batches[0]["image"] != other[0]["image"]).any()


@pytest.mark.parametrize("step", [0, 1, 3, 17])
def test_starting_at_a_step_continues_the_stream(source, step):
    assert_equal(take(source, step + 2)[step:], take(source, 2, start_step=step))


def test_skipped_steps_are_not_decoded():
    class Counting(Plain):
        seen = 0

        def __getitem__(self, index):
            Counting.seen += 1
            return super().__getitem__(index)

    batches = train_batches(CONFIG, Counting(*[(40, 48)] * 9), batch_size=1, seed=0, start_step=500)
    next(batches)
    assert Counting.seen < 50


def test_every_epoch_holds_every_image_once_in_a_new_order():
    config = CONFIG | {"photometric": False, "ratio_range": (1.0, 1.0)}
    batches = take(Plain(*[(40, 48)] * 12), 3, config, batch_size=12)
    orders = [tuple(batch["image"][:, 0, 0, 0]) for batch in batches]
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert len(set(orders)) == 3


def test_an_image_is_augmented_anew_in_each_epoch(source):
    one = create_source(CONFIG | {"num_train": 1}, "train")
    first, second = take(one, 2, batch_size=1)
    assert (first["image"] != second["image"]).any()


@pytest.mark.parametrize("count", [2, 4])
def test_batches_of_processes_put_together_are_the_batch_of_one(source, count):
    whole = take(source, 3)
    parts = [take(source, 3, process_index=index, process_count=count) for index in range(count)]
    assert_equal(whole, joined(parts))


def test_workers_of_a_killed_run_end_with_it(tmp_path):
    """They waited for ever for someone to take their batches, 267 MB each."""
    script = tmp_path / "run.py"
    script.write_text(
        "from segalias_jax import data\n"
        "if __name__ == '__main__':\n"
        "    config = {'source': 'synthetic', 'image_size': (16, 16), 'crop': (8, 8)}\n"
        "    config['workers'] = 1\n"
        "    source = data.create_source(config, 'train')\n"
        "    for _ in data.train_batches(config, source, batch_size=1, seed=0, start_step=0):\n"
        "        print('batch', flush=True)\n"
    )
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    run = subprocess.Popen([sys.executable, script], text=True, **told)
    with run:
        assert run.stdout.readline() == "batch\n"
        children = Path(f"/proc/{run.pid}/task").glob("*/children")
        pids = [pid for path in children for pid in path.read_text().split()]
        workers = [
            pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        run.kill()
    assert len(workers) == 1
    end = time.monotonic() + 60  # of a loaded machine; else it takes an instant
    while not all(map(ended, workers)):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_change_nothing(source, workers):
    step = 3 - workers // 2  # a stream that began with other workers goes on with these
    batches = take(source, 6)[step:]
    assert_equal(batches, take(source, 6 - step, CONFIG | {"workers": workers}, start_step=step))


def test_a_stream_goes_on_exactly_wherever_it_stopped_and_whoever_shares_it():
    noise, rng = Noise(11), np.random.default_rng(0)
    config = CONFIG | {"crop": (8, 8)}
    whole = take(noise, 40, config, batch_size=4)
    for _ in range(12):
        stop, more = int(rng.integers(0, 35)), int(rng.integers(1, 6))
        count, threads = int(rng.choice([1, 2, 4])), int(rng.integers(1, 4))
        state = json.loads(json.dumps(stream_state(noise, step=stop, batch_size=4, seed=0)))
        options = {
            "start_step": resume_step(state, noise, batch_size=4, seed=0),
            "process_count": count,
        }
        now = config | {"threads": threads}
        parts = [take(noise, more, now, process_index=i, **options) for i in range(count)]
        assert_equal(whole[stop : stop + more], joined(parts))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "its seed was 0 and is 1 now"),
        ({"batch_size": 8}, "its batch size was 4 and is 8 now"),
        ({"source": 12}, "its number of images was 11 and is 12 now"),
        ({"source": "m"}, "its list of images .* was .* and is .* now"),
    ],
)
def test_another_stream_does_not_go_on(changes, message):
    noise = Noise(11)
    state = stream_state(noise, step=5, batch_size=4, seed=0)
    if "source" in changes:
        noise = Noise(changes["source"] if changes["source"] != "m" else 11)
        noise.names = [str(changes["source"]) + name for name in noise.names]
    options = {"batch_size": 4, "seed": 0} | {k: v for k, v in changes.items() if k != "source"}
    with pytest.raises(InputError, match=f"^the training stream cannot resume: {message}; [^.]*$"):
        resume_step(state, noise, **options)


def test_every_image_comes_exactly_once_an_epoch_across_batches_and_processes():
    config = CONFIG | {"photometric": False, "ratio_range": (1.0, 1.0)}
    plain = Plain(*[(40, 48)] * 10)  # batches of 4 straddle the epochs
    parts = [take(plain, 10, config, process_index=i, process_count=2) for i in range(2)]
    seen = np.concatenate([batch["image"][:, 0, 0, 0] for batch in joined(parts)])
    for epoch in seen.reshape(4, 10):
        assert sorted(epoch) == list(range(10))


def test_closing_a_stream_ends_its_threads(source):
    before = threading.active_count()
    batches = train_batches(CONFIG, source, batch_size=4, seed=0)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_batch_size_must_be_shared_evenly(source):
    with pytest.raises(
        InputError, match=r"^batch_size is 4, which 3 processes cannot share evenly"
    ):
        train_batches(CONFIG, source, batch_size=4, seed=0, process_count=3)


def test_small_images_are_padded():
    config = CONFIG | {"ratio_range": (1.0, 1.0), "photometric": False, "flip": 0.0}
    (batch,) = take(Plain((20, 48)), 1, config, batch_size=1)
    assert (batch["label"][0, 20:] == 255).all() and (batch["label"][0, :20] == 0).all()
    assert (batch["image"][0, 20:] == MEAN_COLOR).all()


def test_crop_without_padding_must_fit():
    plain = Plain((80, 80), (80, 60))
    config = CONFIG | {"pad": False, "crop": (32, 32)}
    message = r"^data\.crop: 32x32 is larger than n1 \(80x60\), .* to 40x30, and data\.pad is off"
    with pytest.raises(InputError, match=message):
        train_batches(config, plain, batch_size=1, seed=0)
    check_crop(config | {"crop": (40, 30)}, plain)
    check_crop(config | {"pad": True}, plain)
    check_crop(config | {"ratio_range": (0.6, 2.0)}, plain)


def test_input_errors_reach_the_caller():
    class Broken(Plain):
        def __getitem__(self, index):
            raise InputError("x.png: broken")

    batches = train_batches(CONFIG, Broken((40, 48)), batch_size=1, seed=0)
    with pytest.raises(InputError, match=r"^x\.png: broken"):
        next(batches)


def test_evaluation_passes_once_in_order():
    batches = list(eval_batches(Plain(*[(4, 6)] * 5), batch_size=2))
    assert [batch["name"] for batch in batches] == [["n0", "n1"], ["n2", "n3"], ["n4"]]
    assert [batch["valid"].tolist() for batch in batches] == [[True, True]] * 2 + [[True, False]]
    last = batches[-1]
    assert last["image"].shape == (2, 4, 6, 3) and last["label"].dtype == np.int32
    assert (last["label"][0] == 4).all() and (last["label"][1] == 255).all()


def test_evaluation_starts_a_batch_at_another_size():
    a, b = (4, 6), (6, 4)
    batches = list(eval_batches(Plain(a, a, a, b, a, a), batch_size=2, threads=1))
    assert [batch["label"].shape for batch in batches] == [(2, *a), (2, *a), (2, *b), (2, *a)]
    assert [len(batch["name"]) for batch in batches] == [2, 1, 1, 2]
    assert [batch["valid"].sum() for batch in batches] == [2, 1, 1, 2]
    assert sum((batch["name"] for batch in batches), []) == [f"n{index}" for index in range(6)]


def test_evaluation_keeps_its_sizes_where_an_unusable_image_is_replaced():
    class Replacing(Plain):
        def __getitem__(self, index):
            sample = super().__getitem__(4 if index == 1 else index)
            return sample | {"label": np.full_like(sample["label"], 255)} if index == 1 else sample

    a, b = (4, 6), (6, 4)
    batches = list(eval_batches(Replacing(a, a, a, b, b), batch_size=3))
    assert [batch["label"].shape for batch in batches] == [(3, *a), (3, *b)]
    assert batches[0]["valid"].all() and batches[0]["name"] == ["n0", "n1", "n2"]
    assert (batches[0]["label"][1] == 255).all() and (batches[0]["label"][2] == 2).all()


def test_evaluation_can_be_left_early(source):
    batches = eval_batches(source, batch_size=2)
    assert next(batches)["image"].shape == (2, 40, 48, 3)
    batches.close()


def test_real_camvid_batches(real_data):
    config = {"source": "camvid", "root": str(real_data("camvid")), "crop": (240, 320)}
    (batch,) = take(create_source(config, "train"), 1, config)
    assert batch["image"].shape == (4, 240, 320, 3)
    assert set(np.unique(batch["label"])) <= {*range(11), 255}
    (batch,) = itertools.islice(eval_batches(create_source(config, "val"), batch_size=3), 1)
    assert batch["image"].shape == (3, 360, 480, 3) and batch["valid"].all()
