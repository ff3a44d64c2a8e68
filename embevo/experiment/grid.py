"""A grid of experiments: every combination of the values of some settings, beside others that are fixed."""

import codecs
import itertools
import math
import re
import tomllib
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from embevo.errors import ConfigError
from embevo.experiment.config import ExperimentConfig

# What a name of a run takes over of a value as it is.
_PLAIN: Final = re.compile(r"[A-Za-z0-9.+,-]{1,40}")
# A file system takes 255 bytes; endings are added.
_LONGEST_NAME: Final = 200
# Of one sweep: more directories in one are looked through too slowly.
_MOST_RUNS: Final = 100_000


@dataclass(frozen=True)
class GridRun:
    """One run of a grid.

    Attributes:
        name: of the run, made of the settings that differ, such as ``init=qwen_seed=1``.
        varied: the settings that differ, by name.
        config: all of its settings.
    """

    name: str
    varied: dict[str, Any]
    config: ExperimentConfig


def load_grid(path: Path) -> list[GridRun]:
    """The runs of a grid, the last setting in the file varying fastest.

    Args:
        path: a TOML file with a table ``[grid]``, whose settings are lists of values, and a table ``[fixed]``
            of settings with one value for all runs, which may be left out.

    Raises:
        ConfigError: it cannot be read; a setting is unknown or cannot have a value; a list is empty or says a
            value twice; a setting is in both tables; or there are too many combinations.
    """
    tables = _tables(path)
    grid, fixed = tables.get("grid", {}), tables.get("fixed", {})
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(
                f"{path}: {name} in [grid] is {values!r}; it must be a list of values, such as [1, 2, 3]. "
                "What is the same in all runs goes into [fixed]."
            )
        if name in fixed:
            raise ConfigError(f"{path}: {name} is in [grid] and in [fixed]: leave one of them out.")
        twice = [value for place, value in enumerate(values) if value in values[:place]]
        if twice:
            raise ConfigError(f"{path}: {name} in [grid] has {twice[0]!r} twice.")
    if not grid:
        raise ConfigError(f"{path} has no [grid] with lists of values, such as seed = [1, 2, 3].")
    number = math.prod(len(values) for values in grid.values())
    if number > _MOST_RUNS:
        raise ConfigError(
            f"{path} asks for {number:,} runs, every combination of its lists, and a sweep has at most "
            f"{_MOST_RUNS:,}: leave values out, or divide it among files with an --out each."
        )
    runs = []
    for values in itertools.product(*grid.values()):
        varied = dict(zip(grid, values, strict=True))
        config = ExperimentConfig.from_mapping({**fixed, **varied}, str(path))
        runs.append(GridRun(_named(varied), varied, config))
    names = Counter(run.name for run in runs)
    alike = [run.varied for run in runs if names[run.name] > 1]
    if alike:
        raise ConfigError(
            f"{path}: {alike[0]} and {alike[1]} are two runs of one name: write a value otherwise, such as a "
            "path by another way to the same file."
        )
    return runs


def _tables(path: Path) -> dict[str, dict[str, Any]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}. A sweep takes a TOML file.") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(f"{path} is not TOML: it is UTF-16 text. Save it as UTF-8.")
    try:
        tables = tomllib.loads(data.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for name, table in tables.items():
        if name not in ("grid", "fixed") or not isinstance(table, dict):
            raise ConfigError(
                f"{path}: {name!r} is neither of the tables [grid] and [fixed]; settings belong into one of "
                "them."
            )
    return tables


def _named(varied: dict[str, Any]) -> str:
    """The name of a run; of many settings, the last are made up for by a checksum."""
    name = "_".join(f"{setting}={_spelled(value)}" for setting, value in varied.items())
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 9]}~{zlib.crc32(name.encode()):08x}"


def _spelled(value: object) -> str:
    """A value in a name of a directory; what is left out of it is made up for by a checksum."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if _PLAIN.fullmatch(text):
        return text
    plain = re.sub(r"[^A-Za-z0-9.+,-]+", "-", text)[:30].strip("-")
    return f"{plain}~{zlib.crc32(text.encode()):08x}"
