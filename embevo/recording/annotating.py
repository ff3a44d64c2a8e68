"""annotate(): give the tokens of a run strings, counts and groups, when it is recorded or long after."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embevo.errors import ArgumentError
from embevo.recording.options import counts_of
from embevo.recording.token_strings import strings_of
from embevo.run.format.frame import FrameSpec
from embevo.run.format.token_names import Annotations, TokenString, groups_for, strings_for
from embevo.run.format.tokens import TokenNames
from embevo.run.paths import PathLike
from embevo.run.reading.reader import Run
from embevo.run.writing.annotating import annotate_run

MATCHING: Final = "matching"


def annotate(
    run: PathLike,
    *,
    tokenizer: object = None,
    token_count: ArrayLike | None = None,
    groups: Mapping[str, object] | None = None,
    clear: bool = False,
) -> Annotations:
    """Give the tokens of a recorded run strings, counts and groups, each in the place of what it had.

    The run may be finished or interrupted. Rows and everything else in it stay as they are.

    Args:
        run: its directory; nobody may be writing it.
        tokenizer: what says the text of each token; see :class:`embevo.Recorder`.
        token_count: ``(token,)`` occurrences of each token of the vocabulary in a corpus, whole numbers from
            0; :func:`embevo.count_tokens` counts them. They count in the place of those that were recorded.
        groups: name to token ids or texts, to ``{"matching": pattern}``, a regular expression for whole
            texts, or to a mask over the vocabulary; a group of the same name is replaced.
        clear: forget first what an earlier call, or the recorder, has said.

    Returns:
        What is said of the tokens now.

    Raises:
        ArgumentError: something has a form that it cannot have, or the run records no tokens.
        NotARunError: there is no run.
        RunInUseError: somebody is writing it.
        DamagedError: the run, or what was said of its tokens, is not what was written.
        OSError: with the path; what was said is still said.
    """

    def change(opened: Run, before: Annotations) -> Annotations:
        given = annotations_of(
            opened.frame, tokenizer, groups, token_count, attributes=opened.attributes, known=before.strings
        )
        after = before.replaced_by(given)
        # As many as a run may have, also where they came one by one.
        groups_for(after.groups, opened.frame.token_ids, vocabulary_of(opened.frame))
        return after

    return annotate_run(run, change, clear=clear)


def annotations_of(
    frame: FrameSpec,
    tokenizer: object,
    groups: Mapping[str, object] | None,
    token_count: ArrayLike | None = None,
    *,
    attributes: Mapping[str, Any] | None = None,
    known: tuple[TokenString, ...] | None = None,
) -> Annotations:
    """What is said of the tokens that a frame records; arguments and errors as of :func:`annotate`.

    Args:
        frame: what a step records.
        tokenizer: see there.
        groups: see there.
        token_count: see there.
        attributes: of the run, which may say that its tokens are bytes.
        known: ``(token,)`` the strings that the recorded tokens have already.
    """
    if tokenizer is None and not groups and token_count is None:
        return Annotations()
    ids = frame.token_ids
    if not len(ids):
        raise ArgumentError(
            "tokens are named, counted or grouped, and no array has the axis token: name it with dimensions="
        )
    strings = None if tokenizer is None else _named(strings_of(tokenizer), ids)
    names = TokenNames.of(attributes or {}, ids, known if strings is None else strings)
    return Annotations(
        strings,
        None if token_count is None else _counted(token_count, frame),
        groups_for(_by_id(groups or {}, names), ids, vocabulary_of(frame)),
    )


def _by_id(groups: object, names: TokenNames) -> object:
    """The groups, with ids in the place of the texts and patterns in them."""
    if not isinstance(groups, Mapping):
        return groups
    return {name: _ids_of(name, given, names) for name, given in groups.items()}


def _ids_of(name: object, given: object, names: TokenNames) -> object:
    if isinstance(given, Mapping):
        if set(given) != {MATCHING} or not isinstance(given[MATCHING], str):
            raise ArgumentError(
                f"the group {name} is {given!r}; a pattern is written {{{MATCHING!r}: '[0-9]+'}}"
            )
        try:
            return names.matching(given[MATCHING])
        except re.error as error:
            raise ArgumentError(f"the group {name} has the pattern {given[MATCHING]!r}: {error}") from error
    if isinstance(given, list | tuple | set | frozenset):
        return [names.find(token) if isinstance(token, str) else token for token in given]
    return given


def _named(strings: Sequence[TokenString], ids: NDArray[np.int64]) -> tuple[TokenString, ...]:
    named = strings_for(strings, ids)
    if all(text is None for text in named):
        raise ArgumentError(
            f"tokenizer has {len(strings):,} strings, and none for the recorded tokens {ids[0]} to "
            f"{ids[-1]}: it is that of another model"
        )
    return named


def _counted(token_count: ArrayLike, frame: FrameSpec) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = counts_of(token_count, vocabulary_of(frame))[frame.token_ids]
    return counts


def vocabulary_of(frame: FrameSpec) -> int:
    """How many tokens there are, recorded or not."""
    return frame.token_count if frame.tokens is None else frame.tokens.vocabulary
