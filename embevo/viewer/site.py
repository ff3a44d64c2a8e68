"""Everything that the page is sent, by its address: the same for the server, a folder and a single file."""

import contextlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from embevo.analysis.measures.groups import GROUPS, Groups
from embevo.errors import ArgumentError, EmbevoError
from embevo.viewer.carried import tokens_of, zipped
from embevo.viewer.charts import Charts
from embevo.viewer.clouds import Clouds
from embevo.viewer.filming import Filming
from embevo.viewer.opened import OpenedRun
from embevo.viewer.page_files import TYPES, module_names, static_names, text_of
from embevo.viewer.stories import Stories
from embevo.viewer.view_name import ViewName

VERSION: Final = 1
# What a page shows where its address says nothing else.
FIRST_VIEW: Final = "final-0-1-2"
# Of a token in a row: three rounded places, and its black hole.
_ROW_BYTES: Final = 10
_FEWEST_ROWS: Final = 24
_JSON: Final = "application/json"
_BINARY: Final = "application/octet-stream"
_ZIP: Final = "application/zip"


@dataclass(frozen=True)
class Resource:
    """Something that has an address.

    Attributes:
        kind: its media type.
        data: its bytes.
        settled: whether it never changes, so that it may be kept.
    """

    kind: str
    data: bytes
    settled: bool = False


class NotFoundError(LookupError):
    """There is nothing at an address."""


class Subject:
    """One run of the page.

    Attributes:
        opened: the run.
        clouds: where its tokens are.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        matrix: str | None = None,
        others: Sequence[OpenedRun] = (),
        most_bytes: int | None = None,
        *,
        small: bool = False,
    ) -> None:
        """Open it, to show at most so many bytes, or in ``small`` pieces.

        Errors are those of :meth:`~.opened.OpenedRun.of`.
        """
        self.opened = OpenedRun.of(path, name, matrix)
        if most_bytes is not None:
            _, tokens, _ = self.opened.shape
            self.opened.thin_out(max(_FEWEST_ROWS, most_bytes // (_ROW_BYTES * tokens)))
        rounded = small or most_bytes is not None
        self.clouds = Clouds(self.opened, others, rounded=rounded, small=small)
        self.stories = Stories(self.opened)
        self.charts = Charts(self.opened)
        self.filming = Filming(self.opened)

    def describe(self) -> dict[str, Any]:
        """What the page must know of a run before it shows anything."""
        opened = self.opened
        opened.notice_rewinds()
        rows, tokens, dim = opened.shape
        with opened.reading() as run:
            names = run.token_names
            known = run.tokens
            ids = run.frame.token_ids
            own = {name: np.searchsorted(ids, members) for name, members in run.groups.items()}
            config = {key: value for key, value in run.config.items() if _can_be_said(value)}
        groups = Groups.of(tokens, known, own)
        return {
            "version": VERSION,
            "name": opened.name,
            "matrix": opened.matrix,
            "dtype": opened.dtype.name,
            "rows": rows,
            "tokens": tokens,
            "dim": dim,
            "steps": opened.steps.tolist(),
            "recorded_rows": opened.recorded_rows,
            "rewinds": opened.rewinds,
            "piece_rows": self.clouds.piece_rows,
            "rounded": self.clouds.rounded,
            "state": opened.state,
            "config": config,
            "token_ids": None if len(ids) and ids[-1] == len(ids) - 1 else ids.tolist(),
            "labels": names.labels,
            "counts": None if known is None else known.count.tolist(),
            "groups": [
                {"name": name, "own": place >= len(GROUPS), "tokens": groups.ids[place].tolist()}
                for place, name in enumerate(groups.names)
                if place and len(groups.ids[place])
            ],
        }

    def live(self, rows: int) -> dict[str, Any]:
        """What came after so many rows; whoever knows another number of rewinds knows other rows."""
        self.opened.refresh()
        steps = self.opened.steps
        return {
            "rows": len(steps),
            "steps": steps[rows:].tolist(),
            "state": self.opened.state,
            "rewinds": self.opened.rewinds,
        }


class Site:
    """The page of one run or several.

    Attributes:
        subjects: the runs.
    """

    def __init__(
        self,
        runs: Sequence[Path],
        matrix: str | None = None,
        *,
        most_bytes: int | None = None,
        small: bool = False,
    ) -> None:
        """Open the runs.

        Args:
            runs: their directories, the first one first.
            matrix: which of their matrices; by default the embeddings, or the first.
            most_bytes: of the places and black holes of each run: of longer ones some steps are shown, and
                places are rounded; None shows all.
            small: for ways that let little through at a time: places are rounded, and come in small pieces.

        Raises:
            NotARunError: one of the paths is not a run.
            AnalysisError: one has no steps, or no such matrix.
            ArgumentError: one is named twice.
            DamagedError: metadata, manifest or journal are not what was written.
        """
        self.subjects: list[Subject] = []
        for path, name in zip(runs, short_names(runs), strict=True):
            before = [subject.opened for subject in self.subjects]
            self.subjects.append(Subject(path, name, matrix, before, most_bytes, small=small))
        self._routes = (
            (re.compile(r"data/index\.json"), self._index),
            (re.compile(r"data/(\d+)/run\.json"), self._run),
            (re.compile(r"data/(\d+)/charts\.json"), self._charts),
            (re.compile(r"data/(\d+)/charts/([a-z_]+)\.json"), self._more_charts),
            (re.compile(r"data/(\d+)/measure\.json"), self._measure),
            (re.compile(r"data/(\d+)/live-(\d+)\.json"), self._live),
            (re.compile(r"data/(\d+)/view/([a-z0-9-]+)/view\.json"), self._view),
            (re.compile(r"data/(\d+)/view/([a-z0-9-]+)/piece-(\d+)\.bin"), self._piece),
            (re.compile(r"data/(\d+)/holes/piece-(\d+)\.bin"), self._holes),
            (re.compile(r"data/(\d+)/token/(\d+)/way\.json"), self._way),
            (re.compile(r"data/(\d+)/token/(\d+)/neighbours\.json"), self._neighbours),
            (re.compile(r"data/(\d+)/token/(\d+)/near-(\d+)\.json"), self._near),
            (re.compile(r"data/(\d+)/token/(\d+)/bits-(\d+)\.json"), self._bits),
            (re.compile(r"data/(\d+)/tokens/([0-9.-]+)/way\.zip"), self._zipped),
            (re.compile(r"data/(\d+)/film/begin-(\d{1,18})-(\d{1,18})\.json"), self._begin_film),
            (re.compile(r"data/(\d+)/film/told\.json"), self._filming),
            (re.compile(r"data/(\d+)/film/stop\.json"), self._stop_film),
            (re.compile(r"data/(\d+)/film/(\d+-\d+\.(?:mp4|gif))"), self._film),
        )

    def prepare(self) -> None:
        """Make what the first picture of a page takes, which is held then, before the page asks for it.

        What cannot be made is told to the page when it asks.
        """
        for subject in self.subjects:
            with contextlib.suppress(EmbevoError, OSError):
                last = (subject.opened.shape[0] - 1) // subject.clouds.piece_rows
                subject.clouds.piece(ViewName.parse(FIRST_VIEW), last)
                subject.clouds.describe(ViewName.parse(FIRST_VIEW))

    def close(self) -> None:
        """Stop what is being measured or filmed."""
        for subject in self.subjects:
            subject.filming.stop()
            subject.charts.stop()

    def get(self, address: str) -> Resource:
        """What is at an address, which has no slash at its start.

        Raises:
            NotFoundError: nothing is.
            ArgumentError: it names a view, piece or token that there is not.
            DamagedError: stored bytes are not what was written.
            RunReplacedError: another run was recorded in the place of one of these.
        """
        for pattern, answer in self._routes:
            found = pattern.fullmatch(address)
            if found:
                return answer(*found.groups())
        return static(address)

    def _subject(self, number: str) -> Subject:
        if int(number) >= len(self.subjects):
            raise NotFoundError(f"there are {len(self.subjects)} runs, the first of them 0")
        return self.subjects[int(number)]

    def _index(self) -> Resource:
        return _json({
            "version": VERSION,
            "served": True,
            "runs": [{"number": number, "name": subject.opened.name}
                     for number, subject in enumerate(self.subjects)],
        })  # fmt: skip

    def _run(self, number: str) -> Resource:
        return _json(self._subject(number).describe())

    def _charts(self, number: str) -> Resource:
        return _json(self._subject(number).charts.tell())

    def _more_charts(self, number: str, name: str) -> Resource:
        chart = self._subject(number).charts.more(name)
        if chart is None:
            raise NotFoundError(
                f"there is no chart of {name}: charts.json lists what is measured and offered"
            )
        return _json(chart)

    def _measure(self, number: str) -> Resource:
        charts = self._subject(number).charts
        charts.measure()
        return _json(charts.tell())

    def _live(self, number: str, rows: str) -> Resource:
        return _json(self._subject(number).live(int(rows)))

    def _view(self, number: str, view: str) -> Resource:
        return _json(self._subject(number).clouds.describe(ViewName.parse(view)))

    def _piece(self, number: str, view: str, piece: str) -> Resource:
        return Resource(_BINARY, self._subject(number).clouds.piece(ViewName.parse(view), int(piece)))

    def _holes(self, number: str, piece: str) -> Resource:
        return Resource(_BINARY, self._subject(number).clouds.holes(int(piece)))

    def _way(self, number: str, token: str) -> Resource:
        return _json(self._subject(number).stories.way(int(token)))

    def _neighbours(self, number: str, token: str) -> Resource:
        return _json(self._subject(number).stories.neighbours(int(token)))

    def _near(self, number: str, token: str, row: str) -> Resource:
        return _json(self._subject(number).stories.near(int(token), int(row)))

    def _bits(self, number: str, token: str, row: str) -> Resource:
        return _json(self._subject(number).stories.bits(int(token), int(row)))

    def _zipped(self, number: str, tokens: str) -> Resource:
        opened = self._subject(number).opened
        return Resource(_ZIP, zipped(opened, tokens_of(tokens, opened.shape[1])))

    def _begin_film(self, number: str, first: str, last: str) -> Resource:
        return _json(self._subject(number).filming.begin(int(first), int(last)))

    def _filming(self, number: str) -> Resource:
        return _json(self._subject(number).filming.tell())

    def _stop_film(self, number: str) -> Resource:
        filming = self._subject(number).filming
        filming.stop()
        return _json(filming.tell())

    def _film(self, number: str, name: str) -> Resource:
        found = self._subject(number).filming.film(name)
        if found is None:
            raise NotFoundError(f"there is no film {name}: begin-FROM-TO.json makes one")
        return Resource(*found)


def static(address: str) -> Resource:
    """A file of the page itself; the empty address is that of the page.

    Raises:
        NotFoundError: there is none.
    """
    name = address or "index.html"
    if name not in static_names():
        raise NotFoundError(f"there is nothing at /{address}")
    data = text_of(name)
    if name == "index.html":
        # All modules are asked for at once, and not each when the one that imports it is there.
        links = "".join(f'<link rel="modulepreload" href="{module}">\n' for module in module_names())
        data = data.replace("</head>", f"{links}</head>")
    return Resource(TYPES[Path(name).suffix], data.encode())


def short_names(paths: Sequence[Path]) -> list[str]:
    """Names of the directories, as many of those above as it takes to tell the runs apart."""
    parts = [path.absolute().parts for path in paths]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ArgumentError(f"{paths[0]} is named twice: name each run once")


def _can_be_said(value: object) -> bool:
    """Whether JSON has a word for a setting: a text, or a number that is one."""
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _json(value: object) -> Resource:
    return Resource(_JSON, json.dumps(value, allow_nan=False, separators=(",", ":")).encode())
