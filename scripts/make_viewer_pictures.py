"""Writes the pictures of docs/viewer.md from two runs: singular and normal initialisation, in that order.

    python scripts/make_viewer_pictures.py RUN RUN

It needs playwright and Chromium. The runs are those of ``embevo train`` and ``embevo train --init normal``.
"""

import shutil
import sys
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import sync_playwright

from embevo.viewer.server import Viewer
from embevo.viewer.site import Site

DOCS: Final = Path(__file__).parent.parent / "docs"
# Name of the picture to what the address says, the colour scheme, and the size in CSS pixels.
PICTURES: Final = {
    "viewer.png": ("step=150&trail=50&tokens=101&camera=0.12,0.2,0.02,0.97,1,0,0", "dark", (1280, 800)),
    "viewer-over.png": ("step=400&layout=over&view=sky-origin-0-1-2", "light", (1280, 800)),
    "viewer-phone.png": ("step=60&flat=1", "light", (390, 760)),
}
_ARGUMENTS: Final = [
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-sandbox",
]
_READY: Final = """
!!(window.embevo && embevo.firstPicture && !embevo.dirty && !embevo.waiting
   && embevo.runs.every((run) => run.charts.measuring === null && run.charts.charts.length > 4)
   && (!embevo.state.selected.size || document.querySelector("#token .near li")))
"""


def main() -> None:
    """Open the page for each picture, and wait until all of it is there."""
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    site = Site([Path(path) for path in sys.argv[1:]])
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with Viewer(site).serving() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        for name, (state, scheme, (width, height)) in PICTURES.items():
            how: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": height}}
            page = browser.new_page(**how)
            page.goto(f"{url}#{state}")
            while not page.evaluate(_READY):
                page.wait_for_timeout(100)
            # What is hovered, and the address, settle a moment later.
            page.wait_for_timeout(500)
            page.screenshot(path=DOCS / name)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
