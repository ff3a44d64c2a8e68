"""How steps and tokens are named on the command line, as callbacks of click options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

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
        ids: of the tokens, ascending, each once.
        characters: the parts that name tokens by characters, as they were written.
    """

    ids: tuple[int, ...]
    characters: tuple[str, ...]

    def ids_in(self, attributes: Mapping[str, Any]) -> list[int]:
        """The ids, in a run of these attributes.

        Raises:
            click.BadParameter: characters were written, and token ids are not known to be bytes.
        """
        from embevo.run.format.provenance import vocabulary_is_bytes  # noqa: PLC0415

        if self.characters and not vocabulary_is_bytes(attributes):
            raise click.BadParameter(
                f"{self.characters[0]!r} names tokens by characters, and this run does not say that its "
                "token ids are bytes; write ids, such as 0-31,65: those that the tokenizer gives",
                param_hint="--tokens",
            )
        return list(self.ids)


def token_choice(ctx: click.Context, param: click.Parameter, value: str | None) -> TokenChoice | None:
    """Ids, single ASCII characters, and ranges of either, separated by commas.

    A digit is an id; any other single character, a hyphen included, stands for its code, in runs whose token
    ids are bytes. None stays None. click.BadParameter says which part is neither.
    """
    if value is None:
        return None
    from embevo.errors import ArgumentError  # noqa: PLC0415 - loaded when it is needed
    from embevo.run.format.token_text import parse_tokens  # noqa: PLC0415

    try:
        written = parse_tokens(value.split(","))
    except ArgumentError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    return TokenChoice(written.ids, written.characters)
