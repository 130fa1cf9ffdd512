"""The plan of trainings resumes; its intervals hold; docs/evidence.md says what its files say."""

import functools
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from segalias_jax.errors import InputError
from segalias_jax.metrics import ScoreRules
from segalias_jax.scoring import error_types
from segalias_jax.scoring.image_counts import count_image
from segalias_jax.scoring.reports.bootstrap import image_draws

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "evidence"
LARGEST = 60_000  # bytes of a result file


@pytest.fixture
def evidence(monkeypatch):
    """Returns `load(name)`, a module of the package, which is none of the library."""
    monkeypatch.syspath_prepend(ROOT)
    yield lambda name: importlib.import_module(f"benchmarks.evidence.{name}")
    for name in [name for name in sys.modules if name.startswith("benchmarks")]:
        del sys.modules[name]


# The plan.


def test_every_run_has_its_own_file_and_a_recipe_that_parses(evidence, monkeypatch):
    plan = evidence("plan")
    monkeypatch.setenv(plan.DATA, "/data")
    every = plan.experiments()
    assert len({one.stem for one in every}) == len(every) >= 60
    for one in every:
        if one.seed or one.study.name == "camvid":  # whose recipe comes with its encoder
            continue
        recipe = one.recipe()
        assert recipe.train.eval_every == recipe.train.steps  # nothing is chosen by its score
    for study in plan.STUDIES:
        for name in study.borrowed.values():
            assert f"{name}/0" in {one.name for one in every}


def test_a_key_that_a_recipe_lacks_and_missing_data_are_errors(evidence, monkeypatch):
    plan = evidence("plan")
    monkeypatch.delenv(plan.DATA, raising=False)
    keys = {"train.steps": 9, "no.key": 1}
    study = plan.Study("a", "a", "quickstart", "", "test", keys, {"baseline": {}}, [0])
    with pytest.raises(InputError, match=r"a/baseline/0: .* no key no\.key"):
        plan.Experiment(study, "baseline", 0).recipe()
    with pytest.raises(InputError, match="set SEGALIAS_DATA"):
        next(one for one in plan.experiments() if one.study.folder).recipe()


def test_gratings_lie_around_the_limits_of_the_network(evidence):
    """In image pixels, of the operators that the summary of the drawn scenes' network lists."""
    from flax import nnx

    from segalias_jax import models

    plan = evidence("plan")
    recipe = plan.experiments()[0].recipe()
    make = lambda: models.create_model(recipe.model, num_classes=8, rngs=nnx.Rngs(0))  # noqa: E731
    found = models.summarize(nnx.eval_shape(make), (1, 96, 96, 3)).downsampling
    limits = [o.nyquist_frequency for o in found if o.part == "stem" or o.kind == "stage"]
    expected = {round(f * limit / 2**i, 6) for i, limit in enumerate(limits) for f in (0.8, 1.2)}
    assert {round(value, 6) for value in plan.grating_frequencies().values()} == expected


def test_stem_filter_is_that_of_a_plain_transform(evidence):
    """Odd sizes; the maximum at every pixel, its spectrum cut at 1/4, every second pixel."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from segalias_jax import models

    evidence("stem_filter")
    for name in ("resnet18_stem_filter", "resnet18"):
        assert models.ENCODERS[name]
    make = models.ENCODERS["resnet18_stem_filter"]
    net = make("resnet18_stem_filter", width=8, rngs=nnx.Rngs(0))
    net.eval()
    image = np.random.default_rng(0).normal(size=(1, 37, 50, 3)).astype(np.float32)

    @jax.jit
    def stem_and_first(image):
        x = image
        for layer in net.stem:
            x = layer(x)
        return x, net(image)[0]

    x, found = stem_and_first(image)
    padded = np.pad(
        np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-1e9
    )
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    spectrum = np.fft.fft2(windows.max((-2, -1)), axes=(1, 2))
    for axis in (1, 2):
        shape = [1] * 4
        shape[axis] = -1
        spectrum *= (np.abs(np.fft.fftfreq(x.shape[axis])) <= 0.25).reshape(shape)
    y = jnp.asarray(np.fft.ifft2(spectrum, axes=(1, 2)).real[:, ::2, ::2], jnp.float32)
    y = jax.jit(lambda y: functools.reduce(lambda y, block: block(y), net.stages[0], y))(y)
    np.testing.assert_allclose(found, y, rtol=0, atol=1e-5 * np.abs(y).max())


def test_grating_adds_one_frequency(evidence):
    measure = evidence("measure")
    image = np.full((64, 64, 3), 128, np.uint8)
    for index, axis in ((0, 1), (1, 0)):
        power = np.abs(np.fft.fft2(measure.add_grating(image, index, 8 / 64)[..., 0]))
        power[0, 0] = 0
        peak = np.unravel_index(power.argmax(), power.shape)
        assert {peak[axis], (64 - peak[axis]) % 64} == {8, 56} and peak[1 - axis] == 0
        assert abs(2 * power.max() / 64**2 - measure.GRATING_CONTRAST) < 0.2  # rounding


# The loop.


def counted(plan, done, fail=()):
    def measure(experiment, workdir):
        if experiment.variant in fail:
            raise InputError("no data")
        done.append(experiment.name)
        return {"name": experiment.name}

    return measure


def small_plan(plan, **changes):
    study = plan.Study("a", "a", "quickstart", "", "test", {}, {"one": {}, "two x": {}}, range(2))
    return plan.experiments([study])


def test_plan_skips_what_is_done_and_goes_on_after_a_failure(evidence, tmp_path, capsys):
    main, plan = evidence("__main__"), small_plan(evidence("plan"))
    done, results = [], tmp_path / "results"
    assert main.run_plan(plan, results, tmp_path, counted(plan, done, fail=("one",))) == 2
    assert done == ["a/two x/0", "a/two x/1"]
    assert "a/one/0 failed: no data" in capsys.readouterr().err
    pages = []
    assert main.run_plan(plan, results, tmp_path, counted(plan, done), lambda: pages.append(0)) == 0
    assert len(pages) == 2
    assert done[2:] == ["a/one/0", "a/one/1"]
    names = sorted(path.name for path in results.iterdir())
    assert names == ["a_one_0.json", "a_one_1.json", "a_two_x_0.json", "a_two_x_1.json"]


def test_selects_by_pattern_and_by_beginning(evidence):
    main, plan = evidence("__main__"), small_plan(evidence("plan"))
    assert [one.name for one in main.selected(plan, "a/one")] == ["a/one/0", "a/one/1"]
    assert len(main.selected(plan, "a")) == 4 and len(main.selected(plan, "*/1")) == 2


MINUTE = """
import dataclasses, sys
from pathlib import Path
from benchmarks.evidence import __main__ as main, measure, plan
folder = Path(sys.argv[1])
changes = {"data.image_size": (64, 64), "data.crop": (64, 64), "data.num_train": 32,
           "data.num_eval": 4, "model.width": 8, "model.channels": 8,
           "model.auxiliary_channels": 8, "train.steps": 24, "checkpoint.every": 4}
study = dataclasses.replace(plan.STUDIES[0], changes=changes, seeds=[0],
                            variants={k: plan.NETWORKS[k] for k in ("baseline", "daf")})
sys.exit(main.run_plan(plan.experiments([study]), folder / "results", folder, measure.run))
"""


@pytest.mark.skipif(not os.environ.get("SEGALIAS_SOAK"), reason="make faults")
def test_plan_killed_at_random_gives_the_same_files(tmp_path):
    """By SIGKILL, while it trains and while it measures; timings alone differ."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
    }

    def start(folder):
        command = [sys.executable, "-c", MINUTE, str(folder)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    assert start(tmp_path / "compiling").wait() == 0
    began = time.monotonic()
    assert start(tmp_path / "unbroken").wait() == 0
    whole, kills, rng = time.monotonic() - began, 0, random.Random(0)
    while True:
        process = start(tmp_path / "killed")
        try:
            # The second process has at least half of the work before it.
            assert process.wait(rng.uniform(0.2, 0.5) * whole if kills < 5 else None) == 0
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills > 1
    unbroken, killed = (
        {
            path.name: {k: v for k, v in json.loads(path.read_text()).items() if k != "timing"}
            for path in (tmp_path / name / "results").iterdir()
        }
        for name in ("unbroken", "killed")
    )
    assert len(unbroken) == 2 and unbroken == killed


# The counts.


def drawn_maps(seed, classes=3):
    rng = np.random.default_rng(seed)
    label = np.kron(rng.integers(0, classes, (4, 4)), np.ones((5, 5), int)).astype(np.int32)
    other = rng.integers(0, classes, label.shape)
    prediction = np.where(rng.random(label.shape) < 0.2, other, label)
    label[0, :3] = 255
    return prediction.astype(np.int32), label


def result_of(counts, variant, seed, images=12, classes=3):
    plan = counts.count_plan(classes, ScoreRules())
    maps = [drawn_maps([len(variant), seed, i], classes) for i in range(images)]
    found = [count_image(*pair, plan, name=str(i)) for i, pair in enumerate(maps)]
    bands, causes = counts.image_arrays(found)
    scores = counts.scores_of(bands.sum(0)[None], causes.sum(0)[None])
    return {
        "images": [one.name for one in found],
        "scores": {name: float(value[0]) for name, value in scores.items()},
        "shift_consistency": 0.9 + 0.01 * seed,
        "counts": {"bands": counts.pack(bands), "causes": counts.pack(causes)},
    }


def test_packed_counts_come_back_and_others_are_refused(evidence):
    counts = evidence("counts")
    array = np.random.default_rng(0).integers(0, 2**32 - 1, (3, 5, 2))
    assert (counts.unpack(json.loads(json.dumps(counts.pack(array)))) == array).all()
    for wrong in ([-1], [2**32], [0.5]):
        with pytest.raises(ValueError, match="32 bits"):
            counts.pack(np.asarray(wrong))


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_of_packed_counts_are_those_of_the_maps(evidence, classes):
    """By masks and loops over classes, and causes by repairing the maps themselves."""
    counts = evidence("counts")
    found = result_of(counts, "daf", 1, images=3, classes=classes)
    statistic, arrays = counts.statistic_of(found)
    pairs = [drawn_maps([3, 1, i], classes) for i in range(3)]
    prediction, label = (np.stack(one) for one in zip(*pairs, strict=True))

    def iou(prediction):
        kept = label < 255
        values = []
        for c in range(classes):
            both, either = (prediction == c) & (label == c), (prediction == c) | (label == c)
            values.append(both.sum() / (either & kept).sum())
        return values

    values = statistic(*(array.sum(0)[None] for array in arrays))
    assert np.isclose(values["mIoU"][0], np.mean(iou(prediction)), rtol=0, atol=1e-12)
    if classes == 2:
        assert np.isclose(values[counts.FOREGROUND][0], iou(prediction)[1], rtol=0, atol=1e-12)
    causes = np.stack([error_types(*pair, num_classes=classes)[0] for pair in pairs])
    for code, name in enumerate(counts.CAUSES, 1):
        repaired = np.where(causes == code, label, prediction)
        gain = np.mean(iou(repaired)) - np.mean(iou(prediction))
        assert np.isclose(values[name][0], gain, rtol=0, atol=1e-12), name


def test_object_scores_are_the_quotients(evidence):
    counts = evidence("counts")
    sums = np.zeros((2, len(counts.OBJECT_SUMS)), np.int64)
    sums[0, :4] = 6, 2, 4, 4_500_000
    found = counts.object_scores(sums)
    expected = {"PQ": 0.5, "SQ": 0.75, "RQ": 2 / 3, "accuracy_50": 0.5}
    assert {name: round(float(found[name][0]), 9) for name in counts.OBJECTS} == {
        name: round(value, 9) for name, value in expected.items()
    }
    assert all(np.isnan(values[1]) for values in found.values())


def test_object_scores_and_causes_are_those_of_the_scorer(evidence):
    """Of sums over images, against what the scorer computes of all objects at once."""
    from segalias_jax.scoring.instances import InstanceScorer, Objects
    from segalias_jax.scoring.instances.totals import Totals

    counts, measure = evidence("counts"), evidence("measure")
    scorer = InstanceScorer(1, kinds=())
    true = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((6, 6), int))
    missing = np.where(true == 3, 0, true)
    merged = np.where(true == 6, 7, missing)
    for predicted in (missing, merged, np.where((true == 9) & (np.arange(24) < 3), 40, merged)):
        scorer.update(Objects.of_map(predicted), Objects.of_map(true))
    rows = np.stack([measure.object_sums(record) for record in scorer.images])
    found = counts.object_scores(rows.sum(0)[None])
    gains, scores = Totals.of(scorer.images, 1).gains(), scorer.compute()
    for name in counts.OBJECTS:
        assert np.isclose(found[name][0], scores[name], rtol=0, atol=1e-6), name
    for name in counts.OBJECT_CAUSES:
        assert np.isclose(found[name][0], gains[name.removesuffix(" objects")], atol=1e-12), name
    assert found["merged objects"][0] > 0 and found["missed objects"][0] > 0


# The intervals.


def test_interval_of_seeds_alone_is_students(evidence):
    pairs = [0.3, 1.1, 0.4, 0.9]
    _, low, high, p = evidence("summary").interval(pairs, 0.0, 0)
    expected = stats.ttest_1samp(pairs, 0)
    assert np.allclose([low, high], expected.confidence_interval(0.95), rtol=1e-12)
    assert np.isclose(p, expected.pvalue, rtol=1e-12)
    assert np.isnan(evidence("summary").interval([1.0], 0.1, 9)[1:]).all()
    assert np.isnan(evidence("summary").interval([], 0.0, 0)).all()


@pytest.mark.parametrize("seeds, over_seeds, over_images", [(3, 1, 0.2), (3, 0.3, 1), (5, 1, 1)])
def test_interval_holds_the_truth_as_often_as_it_says(evidence, seeds, over_seeds, over_images):
    """Of 1000 simulated differences of 0; 95 % within three standard deviations of the count."""
    interval, rng, held = evidence("summary").interval, np.random.default_rng(0), 0
    for _ in range(1000):
        common = rng.normal(0, over_images**0.5)
        pairs = rng.normal(common, over_seeds**0.5, seeds)
        known = over_images * rng.chisquare(99) / 99  # itself estimated from 100 images
        _, low, high, p = interval(pairs.tolist(), known, 100)
        held += low <= 0 <= high
        assert (low <= 0 <= high) == (p > 0.05)
    assert held > 929


def test_differences_are_those_of_a_plain_loop(evidence, tmp_path):
    counts, summary, plan = evidence("counts"), evidence("summary"), evidence("plan")
    variants = {"baseline": {}, "daf": {}, "no": {}}
    study = plan.Study("s", "s", "quickstart", "", "test", {}, variants, range(4))
    files = {}
    for variant, seeds in (("baseline", range(4)), ("daf", range(3))):
        for seed in seeds:
            files[variant, seed] = result_of(counts, variant, seed)
            path = tmp_path / f"s_{variant}_{seed}.json"
            path.write_text(json.dumps(files[variant, seed]))
    runs = summary.Runs(study, tmp_path)
    assert runs.finished == 7
    daf, missing = runs.differences("scores", "FErr")
    assert missing.seeds == 0 and np.isnan(missing.p) and missing.verdict == "undecided"
    pairs = [
        100 * (files["daf", s]["scores"]["FErr"] - files["baseline", s]["scores"]["FErr"])
        for s in range(3)
    ]
    draws = np.concatenate(list(image_draws(12)))[:20]

    def drawn(variant, seed, weights):
        statistic, arrays = counts.statistic_of(files[variant, seed])
        chosen = np.repeat(np.arange(12), weights.astype(int))
        return statistic(*(a[chosen].sum(0)[None] for a in arrays))["FErr"][0]

    every = [
        100 * np.mean([drawn("daf", s, weights) - drawn("baseline", s, weights) for s in range(3)])
        for weights in draws
    ]
    ours = 100 * np.mean(
        [runs._draws("daf", s)["FErr"] - runs._draws("baseline", s)["FErr"] for s in range(3)], 0
    )
    assert np.allclose(ours[:20], every, rtol=0, atol=1e-9)
    expected = summary.interval(pairs, np.var(ours), 12)
    assert np.allclose([daf.value, daf.low, daf.high, daf.p], expected) and daf.corrected == daf.p
    assert daf.smaller and not runs.differences("scores", "mIoU")[0].smaller
    (shift, _) = runs.differences("shift_consistency")
    assert shift.value == 0 and shift.p == 1


def test_runs_on_other_images_are_not_compared(evidence, tmp_path):
    counts, summary, plan = evidence("counts"), evidence("summary"), evidence("plan")
    study = plan.Study("s", "s", "quickstart", "", "test", {}, {"baseline": {}, "daf": {}}, [0])
    for variant, images in (("baseline", 3), ("daf", 4)):
        content = result_of(counts, variant, 0, images=images)
        (tmp_path / f"s_{variant}_0.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="different images"):
        summary.Runs(study, tmp_path)


@pytest.mark.parametrize(
    "value, corrected, smaller, verdict",
    [
        (1, 0.01, False, "better"),
        (1, 0.01, True, "worse"),
        (-1, 0.01, True, "better"),
        (-1, 0.2, True, "undecided"),
        (1, float("nan"), False, "undecided"),
    ],
)
def test_verdict(evidence, value, corrected, smaller, verdict):
    difference = evidence("summary").Difference("a", 3, value, 0, 2, 0.01, corrected, smaller)
    assert difference.verdict == verdict


# What is there.


def test_page_says_what_the_files_say(evidence):
    """Every number of docs/evidence.md and of the README's first table, computed anew."""
    document = evidence("document")
    studies = document.load(RESULTS)
    assert (ROOT / "docs" / "evidence.md").read_text() == document.text(studies)
    assert evidence("first_screen").section(studies) in (ROOT / "README.md").read_text()


def test_page_of_two_seeds_says_better_where_it_is(evidence, tmp_path, monkeypatch, capsys):
    """Copies of one file as two seeds; in one variant every image has twice the wrong pixels."""
    document, counts = evidence("document"), evidence("counts")
    monkeypatch.setattr(document, "PAGE", tmp_path / "docs" / "evidence.md")
    screen = evidence("first_screen")
    monkeypatch.setattr(screen, "README", tmp_path / "README.md")
    screen.README.write_text(f"above\n{screen.BEGIN}old\n{screen.END}below\n")
    content = json.loads((RESULTS / "drawn_baseline_0.json").read_text())
    right = counts.unpack(content["counts"]["bands"])
    right[:, 0] -= right[:, 0] // 10
    worse = content["counts"] | {"bands": counts.pack(right)}
    scores = counts.statistic_of(content | {"counts": worse})
    found = {k: float(v[0]) for k, v in scores[0](*(a.sum(0)[None] for a in scores[1])).items()}
    for seed in (0, 1):
        for variant in ("baseline", "daf", "flc"):
            less = {"counts": worse, "scores": content["scores"] | {"mIoU": found["mIoU"]}}
            changed = content | {"seed": seed} | (less if variant == "flc" else {})
            changed["scores"] = changed["scores"] | {
                "BIoU": changed["scores"]["BIoU"] + 0.001 * seed
            }
            (tmp_path / f"drawn_{variant}_{seed}.json").write_text(json.dumps(changed))
            other = {"baseline": "baseline", "daf": "daf", "flc": "daf+freqmix"}[variant]
            slower = {"processor seconds per step": 3.0 if variant == "flc" else 2.0}
            timed = changed | {"timing": content["timing"] | slower}
            (tmp_path / f"cracks_{other}_{seed}.json").write_text(json.dumps(timed))
    base = content["scores"]["mIoU"]
    document.write(tmp_path)
    page = document.PAGE.read_text()
    assert "12 of 128 planned runs are finished" in page
    assert "- daf on drawn scenes: undecided; mIoU differs by +0.00 [+0.00, +0.00] points" in page
    assert "- flc on drawn scenes: worse; mIoU differs by -" in page
    assert "- freqmix on drawn scenes: 0 seeds finished, too few to say." in page
    for name in document.FIGURES:
        assert (tmp_path / "docs" / document.PICTURE.format(name)).stat().st_size > 1000
        assert f"]({document.PICTURE.format(name)})" in page
    above, *table, below = screen.README.read_text().splitlines()
    assert (above, below) == ("above", "below") and "drawn" not in "".join(table)
    (row,) = [line for line in table if "road cracks" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:4] == ["2", f"mIoU {100 * base:.1f}", "+0.00 [+0.00, +0.00] undecided, x1.00"]
    assert cells[4].startswith("-") and cells[4].endswith("] worse, x1.50")


def test_main_table_is_that_of_a_plain_mean():
    page = (ROOT / "docs" / "evidence.md").read_text()
    files = [json.loads(path.read_text()) for path in RESULTS.glob("drawn_*.json")]
    for variant in {one["variant"] for one in files}:
        scores = [one["scores"] for one in files if one["variant"] == variant]
        means = (np.mean([one[name] for one in scores]) for name in ("mIoU", "BIoU", "BAcc"))
        row = [variant, str(len(scores)), *(f"{100 * mean:.2f}" for mean in means)]
        lines = [[cell.strip() for cell in line.split("|")[1:]] for line in page.splitlines()]
        assert any(line[: len(row)] == row for line in lines), row


def test_result_files_are_small_and_hold_their_scores(evidence):
    counts = evidence("counts")
    paths = sorted(RESULTS.glob("*.json"))
    assert paths
    for path in paths:
        assert path.stat().st_size < LARGEST
        content = json.loads(path.read_text())
        statistic, arrays = counts.statistic_of(content)
        assert {len(array) for array in arrays} == {len(content["images"])}
        found = statistic(*(array.sum(0)[None] for array in arrays))
        for name, values in found.items():
            kept = content["scores"][name]
            assert kept is None or np.isclose(values[0], kept, rtol=0, atol=1e-12), (path, name)
        assert {"jax", "flax", "segalias-jax"} <= content["versions"].keys()
        assert content["recipe"]["seed"] == content["seed"]
