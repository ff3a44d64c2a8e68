"""Runs to look at, the page of them, and a browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from embevo.viewer.server import Viewer
from embevo.viewer.site import Site
from support import trajectories
from support.page import Page

ROWS, TOKENS, DIM = 150, 24, 6
DEAD = [3, 5, 8, 9]


def moving(seed: int) -> np.ndarray:
    """A cloud that expands and drifts; the dead are one point, and rest from row 100 on."""
    values = trajectories.brownian(ROWS, TOKENS, DIM, seed=seed).astype(np.float64)
    values += np.linspace(0, 1, ROWS)[:, None, None]
    values[:, DEAD] = values[:, DEAD[:1]]
    values[100:, DEAD] = values[100, DEAD[0]]
    return values.astype(ml_dtypes.bfloat16)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two complete runs of 150 rows of 24 tokens, 6 numbers each."""
    folder = tmp_path_factory.mktemp("seen")
    return [
        trajectories.record(folder / name, moving(seed), dead=DEAD) for seed, name in enumerate(("a", "b"))
    ]


@pytest.fixture
def site(recorded: list[Path]) -> Iterator[Site]:
    opened = Site(recorded[:1])
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Debian's Chromium, without a window and drawn by the processor."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here: install Debian's package chromium")
    arguments = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: object, recorded: list[Path]) -> Iterator[Page]:
    """The page of the first run, at the last step, drawn."""
    with Viewer(Site(recorded[:1])).serving() as url, Page.opened(browser, url) as shown:
        yield shown


@pytest.fixture
def both(browser: object, recorded: list[Path]) -> Iterator[Page]:
    """The page of both runs."""
    with Viewer(Site(recorded)).serving() as url, Page.opened(browser, url) as shown:
        yield shown
