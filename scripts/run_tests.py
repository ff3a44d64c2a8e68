"""Runs tests in two processes at once, which take about half of the time on two cores.

    python scripts/run_tests.py [FOLDER]

FOLDER is one below tests/, of which the files are run; without it all tests are. What each process prints is
shown when it has ended; exits with 1 if a test failed.
"""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
TESTS: Final = ROOT / "tests"
# With the files that are in no room, about as long as all others together.
FIRST: Final = ("experiment", "recording", "run")


def halves(folder: str) -> tuple[list[str], list[str]]:
    """Paths below tests/, each in one of two lists."""
    found = sorted(
        path.relative_to(TESTS).as_posix()
        for path in (TESTS / folder).iterdir()
        if (path.is_dir() and any(path.glob("test_*.py"))) or path.name.startswith("test_")
    )
    if folder:
        return found[::2], found[1::2]
    first = [name for name in found if name in FIRST or name.endswith(".py")]
    return first, [name for name in found if name not in first]


def run(names: list[str]) -> int:
    """Run some of the tests in a process of its own; its exit status."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(f"tests/{name}" for name in names)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    sys.stdout.buffer.write(done.stdout)
    print(f"{', '.join(names)}: {(time.monotonic() - begun) / 60:.1f} minutes", flush=True)
    return done.returncode


def main(folder: str = "") -> None:
    """Run both halves."""
    with ThreadPoolExecutor(2) as pool:
        statuses = list(pool.map(run, halves(folder)))
    sys.exit(max(statuses, key=abs))


if __name__ == "__main__":
    main(*sys.argv[1:])
