"""Both pages in headless Chromium: they work by mouse and keyboard, fetch nothing, fit a phone.

`make page` runs this; it is skipped where playwright or a browser is missing.
"""

import os
import re
import shutil

import pytest
from page_reports import (
    CLASSES,
    COLORS,
    PALETTE,
    compared_page,
    made_comparison,
    made_panels,
    made_report,
)

from segalias_jax.scoring.cause_counts import CAUSES
from segalias_jax.scoring.reports.views.report_page import report_page

api = pytest.importorskip("playwright.sync_api", reason="needs playwright: make page")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        # A root user, as in containers, has no sandbox.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        try:
            found = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        except api.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A page of 130 images and one of four models."""
    folder = tmp_path_factory.mktemp("pages")
    report = made_report(130)
    report["images"][-1]["name"] = '</script><b>|&".png'
    html = report_page(
        report, made_panels(report), palette=PALETTE, cause_colors=COLORS, pictures=12
    )
    (folder / "report.html").write_text(html, encoding="utf-8")
    (folder / "compare.html").write_text(compared_page(made_comparison()), encoding="utf-8")
    return folder


@pytest.fixture
def visit(browser, files):
    """Opens a page; whatever it logs or asks the network for fails the test."""
    contexts, complaints = [], []

    def opened(name="report", *, width=1400, height=1000, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda asked: asked.url.startswith(("file:", "data:")) or complaints.append(asked.url),
        )
        page.goto((files / f"{name}.html").as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


def names_shown(page):
    texts = page.locator("#image-rows tr td:first-child").all_text_contents()
    return [text.replace(" (no picture in this page)", "") for text in texts]


def column(page, title):
    heads = page.locator("#image-head th").all_text_contents()
    return page.locator(
        f"#image-rows tr td:nth-child({heads.index(title) + 1})"
    ).all_text_contents()


def sort_by(page, title):
    page.locator("#image-head button", has_text=re.compile(f"^{title}$")).click()


@pytest.mark.parametrize("name", ["report", "compare"])
@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_and_all_text_can_be_read(visit, name, width, scheme):
    page = visit(name, width=width, color_scheme=scheme)
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) <= width
    page.locator("details summary").first.click() if name == "report" else None
    assert page.evaluate(wide) <= width
    assert not page.evaluate(_LOW_CONTRAST)
    page.locator("[data-picture]").last.click()
    page.keyboard.press("4")
    assert page.evaluate(wide) <= width
    assert not page.evaluate(_LOW_CONTRAST)


def test_tables_are_sorted_by_keyboard_and_say_so(visit):
    page = visit()
    values = [float(v) for v in column(page, "mIoU")]
    assert values == sorted(values) and len(values) == 15
    head = page.locator("#image-head th", has_text="mIoU")
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert page.locator("#image-head th[aria-sort]").all_text_contents() == ["mIoU"]
    assert head.get_attribute("aria-sort") == "descending"
    # The focus stays, and whoever comes by keyboard sees where it is.
    assert page.evaluate("document.activeElement.textContent") == "mIoU"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    values = [float(v) for v in column(page, "mIoU")]
    assert values == sorted(values, reverse=True)
    sort_by(page, "false object")
    values = [float(v) for v in column(page, "false object")]
    assert values == sorted(values, reverse=True)
    sort_by(page, "Image")
    assert names_shown(page)[1:] == [f"image_{i:04d}" for i in range(14)]


def test_images_without_a_value_come_last_both_ways(visit):
    page = visit()
    page.locator("#page-size").select_option("200")
    for _ in range(2):
        assert column(page, "mIoU")[-1] == "-" and len(column(page, "mIoU")) == 130
        sort_by(page, "mIoU")


def test_class_tables_are_sorted(visit):
    page = visit()
    table = page.locator("#classes ~ .scroll table").first
    table.locator("th button", has_text=re.compile("^IoU$")).click()
    found = table.locator("tbody td:nth-child(3)").all_text_contents()
    assert [float(v) for v in found] == sorted(map(float, found), reverse=True)
    table.locator("th button", has_text="class").first.click()
    assert table.locator("th[aria-sort=ascending]").count() == 1
    assert table.locator("tbody td:first-child").first.text_content() == CLASSES[1]


def test_filters_by_name_class_cause_size_and_score(visit):
    page, report = visit(), made_report(130)
    page.locator("#page-size").select_option("200")

    def expected(keep):
        return {f"image_{i:04d}" for i, one in enumerate(report["images"][:-1]) if keep(i, one)}

    def found():
        return set(names_shown(page)) - {'</script><b>|&".png'}

    page.locator("#filter-name").fill("_001")
    assert found() == expected(lambda i, one: 10 <= i < 20)
    assert page.locator("#image-count").text_content() == "10 of 130 images"
    page.locator("#filter-reset").click()
    page.locator("#filter-class").select_option("2")
    assert found() == expected(lambda i, one: 2 in one["classes"])
    page.locator("#filter-reset").click()
    page.locator("#filter-cause").select_option(str(CAUSES.index("false object")))
    assert len(found()) > 100
    largest = lambda one: max(one["causes"].values())  # noqa: E731
    for name in found():
        one = report["images"][int(name[-4:])]
        area = one["height"] * one["width"]
        assert one["causes"]["false object"] >= largest(one) - area / 1e6
    page.locator("#filter-reset").click()
    page.locator("#filter-size").select_option("60x80")
    assert found() == expected(lambda i, one: one["height"] == 60)
    page.locator("#filter-reset").click()
    page.locator("#filter-low").fill("50")
    page.locator("#filter-high").fill("60.5")
    score = lambda one: one["scores"]["mIoU"]  # noqa: E731
    assert found() == expected(lambda i, one: i != 3 and 0.5 <= round(score(one), 6) <= 0.605)
    page.locator("#filter-reset").click()
    page.locator("#filter-pictured").check()
    assert len(names_shown(page)) == 12
    page.locator("#filter-name").fill("nowhere")
    assert names_shown(page) == [] and page.locator("#page-after").is_disabled()


def test_pages_of_the_table(visit):
    page = visit()
    first = names_shown(page)
    assert page.locator("#page-before").is_disabled()
    page.locator("#page-after").click()
    assert not set(names_shown(page)) & set(first)
    assert page.locator("#page-number").text_content() == "page 2 of 9"
    page.locator("#filter-name").fill("image_00")
    assert page.locator("#page-number").text_content() == "page 1 of 7"


def test_causes_and_classes_lead_to_their_images(visit):
    page = visit()
    page.get_by_role("button", name="false object", exact=True).first.click()
    assert page.locator("#filter-cause").input_value() == str(CAUSES.index("false object"))
    assert set(column(page, "Largest cause")) == {"false object"}
    page.get_by_role("button", name=CLASSES[2], exact=True).first.click()
    assert page.locator("#filter-class").input_value() == "2"
    assert page.locator("#filter-cause").input_value() == ""


def test_scores_that_are_hidden_at_first(visit):
    page = visit()
    heads = page.locator("#image-head th").all_text_contents
    assert "mDice" not in heads()
    page.locator("#all-scores").check()
    assert "mDice" in heads() and "FErr" in heads()


def test_the_window_by_keyboard(visit):
    page = visit()
    page.locator("[data-open]").first.focus()
    page.keyboard.press("Enter")
    window = page.locator("#viewer")
    assert window.is_visible() and page.locator("[aria-pressed=true]").text_content() == "4causes"
    title = page.locator("#viewer-title").text_content
    shown = lambda: page.locator("#panes img").last.get_attribute("src")  # noqa: E731
    sources = set()
    for key, layer in enumerate(("image", "truth", "prediction", "causes"), start=1):
        page.keyboard.press(str(key))
        pressed = page.locator("[aria-pressed=true]")
        assert pressed.count() == 1 and pressed.get_attribute("data-layer") == layer
        sources.add(shown())
    assert len(sources) == 4
    page.keyboard.press("5")
    assert page.locator("#panes .pane").count() == 4
    page.keyboard.press("2")
    first = title()
    page.keyboard.press("ArrowRight")
    assert title() != first and page.locator("[aria-pressed=true]").text_content() == "2truth"
    page.keyboard.press("ArrowLeft")
    assert title() == first and page.locator("#viewer-before").is_disabled()
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert page.locator("#viewer-zoom").text_content() == "225 %"
    moved = lambda: page.locator(".sheet").first.get_attribute("style")  # noqa: E731
    before = moved()
    page.keyboard.press("Shift+ArrowRight")
    assert moved() != before
    page.keyboard.press("0")
    assert page.locator("#viewer-zoom").text_content() == "100 %"
    page.keyboard.press("Escape")
    assert not window.is_visible()
    assert page.evaluate("document.activeElement.dataset.open !== undefined")


def test_the_window_by_mouse_names_what_is_under_it(visit):
    page = visit()
    page.locator('[data-of="truth"]').first.click()
    stage = page.locator(".stage").first.bounding_box()
    sheet = page.locator(".sheet").first.bounding_box()
    told = page.locator("#viewer-at")

    def at(x, y):
        """Moves to a place given in fractions of the image."""
        page.mouse.move(sheet["x"] + x * sheet["width"], sheet["y"] + y * sheet["height"])
        return told.text_content()

    page.wait_for_function("document.querySelector('#viewer-at') !== null")
    page.wait_for_timeout(200)
    assert at(0.3, 0.95).endswith(f"truth {CLASSES[0]} · prediction {CLASSES[0]} · right")
    displaced = at(0.525, 0.95)
    assert f"truth {CLASSES[1]} · prediction {CLASSES[0]} · displacement" in displaced
    assert at(0.5, 0.05).endswith("ignored")
    page.mouse.move(stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2)
    page.mouse.wheel(0, -300)
    assert int(page.locator("#viewer-zoom").text_content().split()[0]) > 120
    page.mouse.down()
    style = page.locator(".sheet").first.get_attribute("style")
    page.mouse.move(stage["x"] + stage["width"] / 2 + 60, stage["y"] + stage["height"] / 2)
    page.mouse.up()
    assert page.locator(".sheet").first.get_attribute("style") != style
    page.locator("#viewer-close").click()
    assert not page.locator("#viewer").is_visible()


def test_models_side_by_side_zoom_together(visit):
    page = visit("compare")
    page.locator('[data-of="causes"]').first.click()
    panes = page.locator("#panes .pane")
    assert panes.count() == 4
    assert page.locator("#panes .pane > span").all_text_contents()[0] == "first <1>"
    page.keyboard.press("+")
    styles = {one.get_attribute("style") for one in page.locator(".sheet").all()}
    assert len({re.search(r"scale\([^)]*\)", one)[0] for one in styles}) == 1
    page.keyboard.press("3")
    assert panes.count() == 4
    page.keyboard.press("1")
    assert panes.count() == 1
    page.keyboard.press("Escape")
    values = [float(v) for v in column(page, "difference")]
    assert values == sorted(values, reverse=True)


def test_a_page_without_script_has_its_first_screen(visit):
    page = visit(java_script_enabled=False)
    assert page.locator(".lead").is_visible()
    assert page.locator(".card img").count() >= 12
    assert "needs JavaScript" in page.locator("noscript").text_content()


# Texts whose contrast with what they stand on is below that of WCAG AA; disabled ones are exempt.
_LOW_CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const over = (top, under) => {
    const a = top.length > 3 ? top[3] : 1;
    return [0, 1, 2].map((k) => a * top[k] + (1 - a) * under[k]);
  };
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      layers.push(rgb(getComputedStyle(e).backgroundColor));
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const open = document.querySelector("dialog[open]");
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    if (open && !open.contains(element)) continue;
    if (element.closest("script, style, noscript, button:disabled, .aside")) continue;
    const style = getComputedStyle(element), under = behind(element);
    const svg = element.closest("svg");
    const a = light(over(rgb(svg ? style.fill : style.color), under)), b = light(under);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    const large = size >= 24 || (bold && size >= 18.66);
    if (ratio < (large ? 3 : 4.5)) found.push([walker.currentNode.textContent, ratio]);
  }
  return found;
}"""
