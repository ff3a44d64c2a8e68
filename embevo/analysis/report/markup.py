"""HTML that cannot be broken by what is put into it: text is escaped unless it was made here."""

import base64
import html
from collections.abc import Iterable


class Markup(str):
    """HTML as it is; any other string is text."""

    __slots__ = ()


def tag(name: str, *children: str | Iterable[str], **attributes: str | int) -> Markup:
    """An element.

    Args:
        name: of the element.
        children: text, which is escaped, elements, or lists of either.
        attributes: a trailing underscore is dropped (``class_``), others become hyphens; those without a
            value are left out.
    """
    opening = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value != ""
    )
    if name in {"img", "br", "meta"}:
        return Markup(f"<{name}{opening}>")
    return Markup(f"<{name}{opening}>{joined(*children)}</{name}>")


def joined(*children: str | Iterable[str]) -> Markup:
    """Elements and text one after the other."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            # Characters that HTML does not allow, such as NUL, have no reference either.
            parts.append(
                html.escape("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in child))
            )
        else:
            parts.append(joined(*child))
    return Markup("".join(parts))


def table(
    head: Iterable[str], rows: Iterable[Iterable[str]], *, class_: str = "", caption: str = ""
) -> Markup:
    """A table whose cells name their column, so that a narrow page can show each row as a block."""
    names = list(head)
    body = []
    for row in rows:
        first, *rest = row
        cells = [tag("th", first, scope="row")]
        cells += [tag("td", cell, data_label=str(name)) for name, cell in zip(names[1:], rest, strict=True)]
        body.append(tag("tr", cells))
    return tag(
        "table",
        tag("caption", caption) if caption else "",
        tag("thead", tag("tr", [tag("th", name, scope="col") for name in names])),
        tag("tbody", body),
        class_=class_,
    )


def image(data: bytes, kind: str, alt: str, width: int, height: int) -> Markup:
    """An image that is part of the page: ``kind`` is png or svg+xml, sizes are in CSS pixels."""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return tag("img", src=source, alt=alt, width=width, height=height)
