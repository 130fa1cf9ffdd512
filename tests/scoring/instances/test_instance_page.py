"""The page of scored objects: its images, its numbers, and, with a browser, what it shows."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from instance_cases import perturbed, random_rectangles

from segalias_jax.errors import InputError
from segalias_jax.scoring.instances import CAUSES, InstanceScorer
from segalias_jax.scoring.instances.instance_content import report_content
from segalias_jax.scoring.instances.instance_page import chosen_images, instance_page
from segalias_jax.scoring.instances.instance_pictures import panels

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def made():
    """Content and page of 6 images, 3 of which it shows."""
    rng = np.random.default_rng(0)
    scorer, pairs = InstanceScorer(3, classes=("a", "<b>", "c"), kinds=()), []
    for k in range(6):
        true = random_rectangles(rng, 9, scored=False)
        pairs.append((perturbed(rng, true, 3), true))
        scorer.update(*pairs[-1], name=f"</script>{k}")
    content = report_content(scorer, scorer.compute(), title="<t>", settings={})
    page = instance_page(content, lambda i: panels(*pairs[i], 3), pictures=3)
    return content, page


def test_the_page_holds_the_numbers(made):
    content, page = made
    data = json.loads(re.search(r'application/json">(.*?)</script>', page, re.S)[1])
    assert len(data["pictures"]) == 3
    assert data["table"]["of"] == "objects"
    titles = [column["title"] for column in data["table"]["columns"]]
    assert titles == ["TP/(TP+FP+FN)", "PQ", *CAUSES[:-1]]
    accuracy = data["table"]["columns"][0]["values"]
    assert accuracy == [round(1e6 * one["accuracy_50"]) for one in content["images"]]
    assert "&lt;t&gt;" in page
    assert "<t>" not in page
    assert "&lt;b&gt;" in page
    assert "no wrong object<" in page


def test_images_in_turns_of_the_causes(made):
    content, _ = made
    chosen = chosen_images(content, 4)
    assert len(set(chosen)) == 4
    assert chosen_images(content, 0) == []
    assert sorted(chosen_images(content, 99)) == list(range(6))
    leading = max(CAUSES[:-1], key=lambda name: content["causes"]["gains"][name])
    numbers = [one["causes"][leading] for one in content["images"]]
    assert numbers[chosen[0]] == max(numbers)
    with pytest.raises(InputError, match="-1 is no number of images"):
        chosen_images(content, -1)


def test_the_page_in_a_browser(made, tmp_path):
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: make page")
    (tmp_path / "report.html").write_text(made[1], encoding="utf-8")
    with api.sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        except api.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")
        tab = browser.new_page()
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto((tmp_path / "report.html").as_uri())
        assert "Wrong objects" in tab.locator("#image-head").inner_text()
        assert tab.locator("#image-rows tr").count() == 6
        tab.locator("#filter-pictured").check()
        tab.locator("#image-rows button").first.click()
        tab.keyboard.press("5")
        assert tab.locator("#panes .pane").count() == 4
        tab.locator("#panes .stage").nth(1).hover()
        tab.wait_for_function("document.getElementById('viewer-at').textContent !== ''")
        assert "prediction" in tab.locator("#viewer-at").inner_text()
        browser.close()
    assert errors == []
