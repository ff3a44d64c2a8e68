"""The page as a widget of a notebook: what it asks goes over the kernel's connection alone."""

from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any, Final

import anywidget
import traitlets

from embevo.errors import EmbevoError
from embevo.viewer.export import notebook_page
from embevo.viewer.site import NotFoundError, Site

# A notebook's server drops what comes too fast: a long answer is asked for in parts of so many bytes.
_PART: Final = 1 << 19
_SCRIPT: Final = files("embevo.viewer").joinpath("widget.js").read_text("utf-8")


class Widget(anywidget.AnyWidget):
    """The page of some runs. Questions are answered by a thread, so that the kernel is free meanwhile.

    Attributes:
        height: of the page, in CSS pixels.
        state: what stands behind # in an address of the page: where it begins.
    """

    _esm = _SCRIPT
    height = traitlets.Int(640, min=240).tag(sync=True)
    state = traitlets.Unicode("").tag(sync=True)

    def __init__(self, site: Site, **traits: Any) -> None:
        """Show a site, which is closed with the widget."""
        super().__init__(**traits)
        self._site = site
        self._answering = ThreadPoolExecutor(1, "embevo-widget")
        self._long: tuple[str, bytes] = ("", b"")
        self.on_msg(self._asked)

    def close(self) -> None:
        """Show nothing any more, and stop what is being measured."""
        # The base class closes what was never finished making, too.
        answering = getattr(self, "_answering", None)
        if answering is not None:
            answering.shutdown(cancel_futures=True)
            self._site.close()
        super().close()

    def _asked(self, _: object, question: Any, __: object) -> None:
        """Take a question: ``of`` an output, with a ``number``, an ``address``, and ``from`` which byte on.

        The answer has how many bytes there are in ``all``, and those from there on, as many as go at once.
        """
        self._answering.submit(self._answer, question)

    def _answer(self, question: dict[str, Any]) -> None:
        said = {"of": question["of"], "number": question["number"]}
        start = int(question.get("from", 0))
        try:
            data = self._read(str(question["address"]), start)
        except (EmbevoError, NotFoundError, OSError) as error:
            self.send({**said, "refused": str(error)})
        else:
            part = data[start : start + _PART] if "from" in question else data
            self.send({**said, "all": len(data)}, buffers=[part])

    def _read(self, address: str, start: int) -> bytes:
        if start and self._long[0] == address:
            return self._long[1]
        data = notebook_page().encode() if address == "page.html" else self._site.get(address).data
        if len(data) > _PART:
            self._long = address, data
        return data
