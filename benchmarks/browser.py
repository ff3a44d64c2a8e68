"""The page of a run in headless Chromium: its server, its first picture, and the memory of both."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from benchmarks.result import Result

SIZE: Final = {"width": 1280, "height": 800}
MIB: Final = 1 << 20
_BROWSER: Final = [
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox",
]  # fmt: skip


class Browsers:
    """Starts Chromium, drawn by the processor, as often as wanted."""

    def __init__(self, playwright: Any, executable: str) -> None:
        self._playwright = playwright
        self._executable = executable

    def browser(self) -> Any:
        """A new one, to be closed."""
        return self._playwright.chromium.launch(executable_path=self._executable, args=_BROWSER)


@contextmanager
def browsers(result: Result) -> Iterator[Browsers | None]:
    """What starts Chromium; None, and said so in the result, where it or playwright is not installed."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if find_spec("playwright") is None or executable is None:
        result.skipped.append("all of it: playwright or Chromium is not installed")
        yield None
        return
    with import_module("playwright.sync_api").sync_playwright() as playwright:
        yield Browsers(playwright, executable)


@contextmanager
def served(run: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of the page of a run, and the process that serves it."""
    command = [
        sys.executable,
        "-c",
        "from embevo_cli.main import main; main()",
        "view",
        str(run),
        "--no-browser",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.terminate()


def first_picture(page: Any, url: str) -> float:
    """Seconds from the request for the page."""
    page.goto(url)
    wait(page, "!!(window.embevo && embevo.firstPicture)")
    return float(page.evaluate("embevo.firstPicture")) / 1000


def wait(page: Any, condition: str) -> None:
    """Until an expression holds in the page."""
    while not page.evaluate(condition):
        page.wait_for_timeout(20)


def peak(pid: int) -> int:
    """The most bytes of memory that a process ever had; 0 where it is gone or the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 0


def browser_peak() -> int:
    """The most bytes of memory that any process of Chromium on this machine ever had."""
    found = [0]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"chrom" in path.read_bytes().split(b"\0", 1)[0]:
                found.append(peak(int(path.parent.name)))
    return max(found)
