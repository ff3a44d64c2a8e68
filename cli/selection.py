"""How steps and tokens are named on the command line, as callbacks of click options."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from embevo.run.format.tokens import TokenNames

MATRIX_HELP: Final = "Which recorded matrix; by default embeddings, or the first."
JUDGE_HELP: Final = (
    "Judge the embeddings of runs that embevo train did not make, too, by the predictions for its runs; the "
    "output says so."
)


def step_slice(ctx: click.Context, param: click.Parameter, value: str) -> slice:
    """``A:B:S`` over step numbers, or one step number; click.BadParameter for anything else."""
    try:
        parts = [int(part) if part.strip() else None for part in value.split(":")]
    except ValueError:
        parts = []
    match parts:
        case [int(step)] if step >= 0:
            return slice(step, step + 1)
        case [start, stop]:
            return slice(start, stop)
        case [start, stop, stride]:
            return slice(start, stop, stride)
    raise click.BadParameter(
        f"{value!r} is not a step or a slice of steps: write 100, 100:200, ::10 or -50:", ctx, param
    )


@dataclass(frozen=True)
class TokenChoice:
    """Tokens as they were written on the command line.

    Attributes:
        parts: what stands between the commas.
        option: that they were given to.
    """

    parts: tuple[str, ...]
    option: str = "--tokens"

    def ids_in(self, names: "TokenNames") -> list[int]:
        """The ids, ascending, in a run whose tokens have these names.

        Raises:
            click.BadParameter: a part is no id, and not the name of one token.
        """
        from embevo.errors import ArgumentError  # noqa: PLC0415 - loaded when it is needed
        from embevo.run.format.token_text import parse_tokens, tokens_named  # noqa: PLC0415

        try:
            if names.strings is None and names.is_bytes:
                return list(parse_tokens(self.parts).ids)
            return tokens_named(self.parts, names)
        except ArgumentError as error:
            raise click.BadParameter(str(error), param_hint=f"'{self.option}'") from error


def token_choice(ctx: click.Context, param: click.Parameter, value: str | None) -> TokenChoice | None:
    """Ids, ranges of them, and names of tokens, separated by commas; None stays None.

    What they mean is known when the run is: where token ids are bytes, single characters and ranges of these
    are names. click.BadParameter for ranges of ids that are none.
    """
    if value is None:
        return None
    from embevo.errors import ArgumentError  # noqa: PLC0415 - loaded when it is needed
    from embevo.run.format.token_text import parse_tokens, split_tokens  # noqa: PLC0415

    parts = split_tokens(value)
    try:
        parse_tokens([part for part in parts if re.fullmatch(r"\d+(-\d+)?", part, re.ASCII)])
    except ArgumentError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    if "" in parts:
        raise click.BadParameter(f"{value!r} has an empty part between its commas", ctx, param)
    return TokenChoice(tuple(parts), param.opts[0])


def token_ids(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int] | None:
    """Ids and ranges of them between commas or white space, ascending; click.BadParameter for others."""
    if value is None:
        return None
    from embevo.errors import ArgumentError  # noqa: PLC0415 - loaded when it is needed
    from embevo.run.format.token_text import parse_tokens  # noqa: PLC0415

    parts = re.split(r"[,\s]+", value.strip())
    if not all(re.fullmatch(r"\d+(-\d+)?", part, re.ASCII) for part in parts):
        raise click.BadParameter(f"{value[:60]!r} is not a list of token ids, such as 0-31,65", ctx, param)
    try:
        return list(parse_tokens(parts).ids)
    except ArgumentError as error:
        raise click.BadParameter(str(error), ctx, param) from error
