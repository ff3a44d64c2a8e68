"""A page of the viewer in a real browser, and what it shows."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_PATIENCE = 30.0


class Page:
    """What tests ask of a page; ``complaints`` are the errors that its console has shown.

    Conditions are asked for again and again from outside: the page's policy lets nothing be evaluated in it.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text) if message.type in {"error", "warning"} else None
            ),
        )

    @classmethod
    @contextmanager
    def opened(
        cls, browser: Any, url: str, *, state: str = "", script: str = "", **how: Any
    ) -> Iterator[Self]:
        """A page that has drawn its first picture.

        Args:
            browser: that opens it.
            url: of the page.
            state: what stands behind # in its address.
            script: run before those of the page, in each of its frames.
            how: of the browser's context.
        """
        how.setdefault("viewport", {"width": 1000, "height": 700})
        context = browser.new_context(**how)
        context.add_init_script(script)
        found = cls(context.new_page())
        found.page.goto(f"{url}#{state}")
        found.until("!!(window.embevo && window.embevo.firstPicture)")
        try:
            yield found
        finally:
            context.close()

    def ask(self, what: str) -> Any:
        """The value of an expression in the page."""
        return self.page.evaluate(what)

    def until(self, condition: str) -> None:
        """Wait until an expression holds."""
        end = time.monotonic() + _PATIENCE
        while not self.ask(condition):
            said = self.ask("document.getElementById('status')?.innerText")
            assert time.monotonic() < end, f"{condition} never held; {said}; {self.complaints}"
            self.page.wait_for_timeout(20)

    def settle(self) -> None:
        """Wait until what is wanted is drawn."""
        self.until("!embevo.dirty && !embevo.waiting")

    def positions(self, run: int = 0) -> NDArray[np.float64]:
        """``(token, 3)`` pixels: from the left, from the top, and towards the viewer."""
        self.settle()
        return np.array(self.ask(f"embevo.positions({run}).pixels"), np.float64).reshape(-1, 3)

    @property
    def step(self) -> int:
        """The step that the first picture shows."""
        self.settle()
        return int(self.ask("embevo.runs[0].steps[embevo.positions(0).row]"))

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()
