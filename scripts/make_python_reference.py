"""Make python-reference.txt: the prose of CPython's language reference, as it ships with every CPython.

Run it on the interpreter whose reference is wanted; the text differs between micro versions of Python,
which is why embevo ships the result and not only this script:

    python3.11 scripts/make_python_reference.py data/python-reference.txt
"""

import re
import sys
from pathlib import Path
from pydoc_data import topics

# Characters of code, grammar and markup. Prose does without them; leaving them out is what leaves some
# fifty of the 128 byte values absent, as a novel does.
CODE_CHARACTERS = frozenset("{}|^~\\@<>+/=&%#`")


def paragraphs(text: str) -> list[str]:
    """Split at empty lines."""
    return [paragraph.strip("\n") for paragraph in re.split(r"\n[ \t]*\n", text) if paragraph.strip()]


def is_heading(paragraph: str) -> bool:
    """Two lines, the second an underline made of one repeated character."""
    lines = paragraph.split("\n")
    return len(lines) == 2 and len(set(lines[1])) == 1 and not lines[1][0].isalnum()


def is_code(paragraph: str) -> bool:
    """Grammar, an interpreter session, or a statement and its indented body."""
    if "::=" in paragraph or ">>>" in paragraph:
        return True
    lines = paragraph.split("\n")
    starts_block = re.match(r"\s*(def|class|async|if|try|while|for|with|match|import|from)\b.*:?$", lines[0])
    return bool(starts_block) and not re.search(r"[a-z]{2,} [a-z]{2,} [a-z]{2,} [a-z]{2,}", paragraph)


def prose(paragraph: str) -> str:
    """What is left of a paragraph: all of it, its sentences free of code, a heading's title, or nothing."""
    if not paragraph.isascii() or is_code(paragraph):
        return ""
    if is_heading(paragraph):
        paragraph = paragraph.split("\n", maxsplit=1)[0]
    if not CODE_CHARACTERS & set(paragraph):
        return paragraph if len(re.findall(r"[A-Za-z][a-z]+", paragraph)) >= 2 else ""
    sentences = re.split(r"(?<=[.?!])\s+(?=[A-Z])", paragraph.strip())
    kept = [
        sentence
        for sentence in sentences
        if not CODE_CHARACTERS & set(sentence) and len(re.findall(r"[A-Za-z][a-z]+", sentence)) >= 5
    ]
    return " ".join(kept)


def reference_prose() -> str:
    """The whole corpus, topics in the order of the source, paragraphs parted by an empty line."""
    kept = [prose(paragraph) for text in topics.topics.values() for paragraph in paragraphs(text)]
    return "\n\n".join(text for text in kept if text) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(reference_prose().encode("ascii"))
