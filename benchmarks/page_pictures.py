"""Pictures of report pages for the README, as a browser shows them.

    segalias score PREDICTIONS LABELS --images IMAGES --out REPORT
    segalias score PREDICTIONS LABELS --images IMAGES --compare B C D --out COMPARISON
    python benchmarks/page_pictures.py REPORT COMPARISON docs/pictures

needs `pip install playwright` and Chromium. Writes report_page.png, report_phone.png and
comparison_page.png, with 256 colors each, so that they stay small.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, sync_playwright

from segalias_jax.scoring.reports.views.embedded import palette_png

COLORS = 256


def few_colors(picture: np.ndarray) -> bytes:
    """A PNG of the most fitting colors."""
    pixels = np.float32(picture.reshape(-1, 3))
    known = np.unique(picture.reshape(-1, 3), axis=0)
    rng = np.random.default_rng(0)
    # Half of the sample are colors of the page itself, of which photographs would leave nothing.
    sample = np.concatenate([pixels[rng.integers(len(pixels), size=12000)], known[::16]])
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 1.0)
    cv2.setRNGSeed(0)
    _, _, colors = cv2.kmeans(
        np.float32(sample), COLORS, np.empty(0), stop, 1, cv2.KMEANS_PP_CENTERS
    )
    colors = np.uint8(colors.round().clip(0, 255))
    codes = np.empty(len(pixels), np.uint8)
    for first in range(0, len(pixels), 1 << 16):
        part = pixels[first : first + (1 << 16), None]
        codes[first : first + (1 << 16)] = np.square(part - np.float32(colors)).sum(-1).argmin(1)
    opaque = np.full((COLORS, 1), 255, np.uint8)
    return palette_png(codes.reshape(picture.shape[:2]), np.hstack([colors, opaque]))


def taken(browser: Browser, page: Path, *, width: int, height: int) -> np.ndarray:
    """The first screen of a page, RGB."""
    tab = browser.new_page(viewport={"width": width, "height": height})
    tab.goto((page / "report.html").absolute().as_uri())
    tab.wait_for_timeout(500)
    data = np.frombuffer(tab.screenshot(), np.uint8)
    tab.close()
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def main(report: Path, comparison: Path, out: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        pictures = {
            "report_page": taken(browser, report, width=1400, height=1110),
            "report_phone": taken(browser, report, width=390, height=844),
            "comparison_page": taken(browser, comparison, width=1400, height=1450),
        }
        browser.close()
    for name, picture in pictures.items():
        file = out / f"{name}.png"
        file.write_bytes(few_colors(picture))
        print(f"{file}: {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
