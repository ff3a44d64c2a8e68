"""The settings of an experiment as command-line options, made from the one place that defines them."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

from embevo.experiment.config import ExperimentConfig

_F = TypeVar("_F", bound=Callable[..., Any])
_SHORT: Final = {"learning_rate": "--lr"}


def settings_options(function: _F) -> _F:
    """Add an option for every setting; one that is not given is None."""
    hints = get_type_hints(ExperimentConfig)
    for setting in reversed(fields(ExperimentConfig)):
        default = setting.default
        flag = "--" + setting.name.replace("_", "-")
        names = [flag, _SHORT[setting.name]] if setting.name in _SHORT else [flag]
        kind = _click_type(hints[setting.name])
        if kind is bool:
            names = [f"{flag}/--no-{flag.removeprefix('--')}"]
            default = "no"
        text = f"{setting.metadata['help']}  [default: {default}]"
        function = click.option(*names, setting.name, type=kind, default=None, help=text)(function)
    return function


def _click_type(hint: Any) -> Any:
    if get_origin(hint) is not Literal:
        return hint
    choices = get_args(hint)
    return click.Choice(choices) if isinstance(choices[0], str) else _IntChoice(choices)


class _IntChoice(click.ParamType[int]):
    """One of a few whole numbers."""

    name = "integer"

    def __init__(self, choices: tuple[int, ...]) -> None:
        self._choices = choices

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        return "[" + "|".join(map(str, self._choices)) + "]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if str(value) not in map(str, self._choices):
            self.fail(f"{value!r} is not one of {', '.join(map(str, self._choices))}.", param, ctx)
        return int(value)
