"""The gallery: tables of its page are computed again, closed forms are those of the sources."""

import importlib
import itertools
import json
import math
import re
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from segalias_jax.runs.recipes import load_recipe

REPOSITORY = Path(__file__).parents[1]
SCRIPTS = REPOSITORY / "examples" / "gallery"
PAGE = (REPOSITORY / "docs" / "gallery.md").read_text()
NAMES = sorted(path.stem for path in SCRIPTS.glob("*.py") if path.stem != "figures")


@pytest.fixture
def script(monkeypatch):
    """Returns `load(name)`, a script of the gallery as a module."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) & {*NAMES, "figures"} - before:
        del sys.modules[name]


def told(name):
    """A table of the page."""
    return PAGE.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- end of {name} -->")[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_script_says_its_command_and_source_and_has_its_figures_on_the_page(name):
    text = (SCRIPTS / f"{name}.py").read_text()
    doc = text.split('"""')[1]
    assert f"python examples/gallery/{name}.py --out DIR" in doc and "\nSource: " in doc
    figures = re.findall(r'flags.out / "(\w+\.png)"', text)
    assert figures and "def main(" in text
    assert name in (REPOSITORY / "Makefile").read_text()
    for figure in figures:
        path = REPOSITORY / "docs" / "pictures" / "gallery" / figure
        assert path.stat().st_size < 150_000
        assert f"(pictures/gallery/{figure})" in PAGE and figure in " ".join(doc.split())


def test_boundary_errors(script, tmp_path):
    module = script("boundary_errors")
    assert module.tables() == {"boundary errors": told("boundary errors")}
    module.draw(tmp_path / "a.png")
    kinds = {name: found["kinds"] for name, found in module.measure().items()}
    causes = {name: found["causes"] for name, found in module.measure().items()}
    scenes = ("displaced", "merged", "invented")
    largest = [max(kinds[scene], key=kinds[scene].get) for scene in scenes]
    assert largest == ["displacement", "merging mistake", "false response"]
    assert [max(count, key=count.get) for count in causes.values()] == [
        *("displacement", "merge", "split", "missed object"),
        *("false object", "class confusion", "interior hole"),
    ]


def test_median_and_blur(script):
    module = script("median_and_blur")
    assert module.table() == told("median")
    for p in module.PROBABILITIES:
        patterns = itertools.product((0, 1), repeat=9)
        wrong = sum(p ** sum(x) * (1 - p) ** (9 - sum(x)) for x in patterns if sum(x) > 4)
        assert module.wrong_after_median(p) == pytest.approx(wrong, rel=1e-12)
    assert module.wrong_after_median(0.5) == 0.5
    rates = np.linspace(0.001, 0.499, 99)
    assert all(module.wrong_after_median(p) < p for p in rates)
    # The page says up to where the median is ahead in the root of the mean square.
    ahead = [p for p in rates if module.wrong_after_median(p) < p * p + p * (1 - p) / 9]
    assert f"p = {max(ahead):.2f}" in PAGE and max(ahead) == pytest.approx(
        len(ahead) / 200, abs=0.01
    )


def test_what_was_measured_is_the_closed_form(script):
    module = script("median_and_blur")
    found = module.measure(0.2)
    pixels = (module.SIDE - 2) ** 2
    q = module.wrong_after_median(0.2)
    # Nine windows share a pixel, so there is as much as a ninth of independent ones.
    assert found["median"] == pytest.approx(q, abs=4 * math.sqrt(9 * q * (1 - q) / pixels))
    assert found["blur"] == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / pixels))


def test_loss_minima(script, tmp_path):
    module = script("loss_curves")
    assert module.tables() == {"loss minima": told("loss minima")}
    module.draw(tmp_path / "a.png")
    for p in module.RATES:
        assert module.best_answer(p, 1) == p
        assert module.best_answer(p, (1 - p) / p) == pytest.approx(0.5, rel=1e-12)
        least = module.best_answer(p, 7)
        losses = module.expected_loss(least * np.array([0.999, 1, 1.001]), p, 7)
        assert losses.argmin() == 1


def test_spectrogram(script, tmp_path):
    module = script("spectrogram")
    assert module.tables() == {"spectrogram": told("spectrogram")}
    clean = module.melody()
    back = module.sound_of(module.spectrogram(clean), len(clean))
    np.testing.assert_allclose(back, clean, rtol=0, atol=1e-14)  # overlapping windows lose nothing
    module.write_wave(tmp_path / "a.wav", clean)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (8000, len(clean))
        samples = np.frombuffer(file.readframes(len(clean)), "<i2")
    np.testing.assert_allclose(samples / 32767 * 1.6, clean, rtol=0, atol=1.6 / 32767)


def test_radar_fields(script, tmp_path):
    module = script("radar_fields")
    field = module.drawn_field()
    assert module.tables(field) == {name: told(name) for name in module.tables(field)}
    module.draw_coder(tmp_path / "a.png", field)
    maps = module.encode(field)
    assert [x.shape for x in maps] == [(1, n, n, 1) for n in (45, 15, 5)]
    for method in module.METHODS:
        sizes = [x.shape for x in module.decode(maps[-1], method)]
        assert sizes == [(1, n, n, 1) for n in (15, 45, 135)]
    field = field.astype(np.float32)
    edges = np.pad(field, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(edges, (3, 3))
    strongest = np.maximum(9 * field - windows.sum((-2, -1)), 0)
    pooled = strongest[:135, :135].reshape(45, 3, 45, 3).max((1, 3))
    np.testing.assert_array_equal(maps[0][0, ..., 0], pooled)
    np.testing.assert_array_equal(module.looped(field), module.dither(field, module.LEVELS))


def test_radar_unet(script):
    """The network is not trained here; its score is that of the stored report."""
    module = script("radar_unet")
    config, report = load_recipe(module.RECIPE), json.loads(module.RESULT.read_text())
    assert report["settings"]["recipe"] == module.RECIPE == config.name
    assert module.table(config, report) == told("radar unet")
    score = f"{100 * report['summary']['IoU_pixels_of_all_images']:.1f}"
    recipe = (REPOSITORY / "configs" / "radar_unet.py").read_text()
    assert f"= CSI {score} over all pixels" in recipe


def test_a_page_gets_its_tables_between_their_marks(script, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- end of x -->\nb\n")
    script("figures").publish({"x": "new"}, page)
    assert page.read_text() == "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n"
