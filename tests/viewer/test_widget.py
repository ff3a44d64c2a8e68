"""The page in a notebook: the widget's Python side, and its script in a browser with a model in between."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest

import embevo
from embevo.errors import ArgumentError, UnsupportedError
from support.page import Page
from viewer.test_site import components, unpack

anywidget = pytest.importorskip("anywidget")

# What VS Code lets a notebook's output do; JupyterLab lets it do more.
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src https: data: blob:; child-src https: data: blob:; connect-src https:"
)
# An output of a notebook, and anywidget's model as far as a widget may use it.
NOTEBOOK = """<!doctype html><body data-jp-theme-light="{light}"><div id="out"></div><script type="module">
import widget from "./widget.js";
const traits = {traits};
const told = new Set();
const model = {{
  get: (name) => traits[name],
  on: (name, back) => {{ if (name === "msg:custom") told.add(back); }},
  off: (name, back) => told.delete(back),
  send: async (content) => {{
    for (const [said, data] of await window.kernel(content)) {{
      const bytes = data === null ? [] : [Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0))];
      for (const back of told) back(said, bytes.map((part) => new DataView(part.buffer)));
    }}
  }},
}};
window.end = widget.render({{ model, el: document.getElementById("out") }});
window.told = told;
</script>"""


class Kernel:
    """Hands questions to a widget as the front end does, and takes what it sends."""

    def __init__(self, widget: Any) -> None:
        self.widget = widget
        self.sent: Queue[tuple[dict, bytes | None]] = Queue()
        self.at_work = False
        widget.send = lambda content, buffers=(): self.sent.put((content, *(buffers or [None])))

    def ask(self, question: dict) -> tuple[dict, bytes | None]:
        self.widget._handle_custom_msg(question, [])
        return self.sent.get(timeout=30)

    def answer(self, question: dict) -> list[tuple[dict, str | None]]:
        if self.at_work:
            return []
        said, data = self.ask(question)
        return [(said, None if data is None else base64.b64encode(data).decode())]


class Framed(Page):
    """The page that lies in the only frame of another."""

    def ask(self, what: str) -> Any:
        return self.page.frames[1].evaluate(what)


@pytest.fixture
def kernel(recorded: list[Path]) -> Iterator[Kernel]:
    widget = embevo.open_run(recorded[0]).view(state="step=20")
    yield Kernel(widget)
    widget.close()


def test_what_is_asked_is_answered_with_the_same_number(kernel: Kernel, recorded: list[Path]) -> None:
    said, data = kernel.ask({"of": "a", "number": 7, "address": "data/0/view/raw-0-1-2/piece-0.bin"})
    assert data is not None
    assert said == {"of": "a", "number": 7, "all": len(data)}
    values = np.asarray(embevo.open_run(recorded[0])["embeddings"][:], np.float64)[:, :, :3]
    np.testing.assert_allclose(unpack(data), values, atol=np.ptp(values) / 65_000)
    for address in ("data/0/view/raw-0-1-99/view.json", "data/9/run.json", "../../etc/passwd"):
        said, data = kernel.ask({"of": "a", "number": 8, "address": address})
        assert said["number"] == 8
        assert said["refused"]
        assert data is None


def test_what_cannot_be_shown_is_said(recorded: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match="no run is given"):
        embevo.view()
    with pytest.raises(ArgumentError, match="at least 240"):
        embevo.view(recorded[0], height=10)
    run = embevo.open_run(recorded[0])
    run.url = "s3://bucket/run"
    with pytest.raises(UnsupportedError, match="pull"):
        run.view()
    monkeypatch.setitem(__import__("sys").modules, "anywidget", None)
    monkeypatch.delitem(__import__("sys").modules, "embevo.viewer.widget")
    with pytest.raises(embevo.MissingLibraryError, match=r"pip install 'embevo\[notebook\]'"):
        embevo.view(recorded[0])


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of its own, which asks nobody anything once its test has ended, however that was."""
    context = browser.new_context(viewport={"width": 1000, "height": 700}, offline=False)
    try:
        yield context.new_page()
    finally:
        context.close()


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_in_the_notebook(
    kernel: Kernel, page: Any, recorded: list[Path], theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that what the page is sent comes in parts.
    monkeypatch.setattr("embevo.viewer.widget._PART", 5000)
    page.expose_function("kernel", kernel.answer)
    traits = json.dumps({"height": 640, "state": "step=20"})
    text = NOTEBOOK.format(light=str(theme == "light").lower(), traits=traits)
    script = kernel.widget._esm
    asked: list[str] = []

    def serve(route: Any) -> None:
        asked.append(route.request.url)
        is_script = route.request.url.endswith("widget.js")
        kind = "text/javascript" if is_script else "text/html"
        route.fulfill(
            body=script if is_script else text,
            content_type=kind,
            headers={"Content-Security-Policy": POLICY},
        )

    page.route("**/*", serve)
    shown = Framed(page)
    page.goto("http://notebook.test/")
    page.wait_for_selector("iframe[srcdoc]")
    # Until then the frame is another, empty one, of which nothing can be asked.
    page.frames[1].wait_for_url("about:srcdoc")
    shown.until("!!(window.embevo && window.embevo.firstPicture)")
    assert shown.step == 20
    values = np.asarray(embevo.open_run(recorded[0])["embeddings"][:], np.float64)
    mean, basis = components(values[-1])
    places = np.reshape(shown.ask("[...embevo.panels[0].shown[0].places]"), (-1, 3))
    expected = (values - mean) @ basis[:3].T
    assert np.abs(places - expected[20]).max() <= np.ptp(expected) / 60_000
    paper = "getComputedStyle(document.body).backgroundColor"
    white = "rgb(255, 255, 255)"
    assert (shown.ask(paper) == white) == (theme == "light")
    page.evaluate(f"document.body.dataset.jpThemeLight = '{str(theme != 'light').lower()}'")
    shown.until(f"({paper} === '{white}') === {str(theme != 'light').lower()}")
    # The page has no hand in the notebook.
    reaching = "(() => { try { return String(parent.document.title); } catch { return 'no'; } })()"
    assert shown.ask(reaching) == "no"
    # Of one theme: a page is patient for some seconds.
    kernel.at_work = theme == "light"
    shown.ask("void embevo.select([4])")
    if kernel.at_work:
        shown.until("document.getElementById('status').innerText.includes('Waiting for the kernel')")
    kernel.at_work = False
    shown.until("document.getElementById('status').hidden")
    shown.until("!!document.querySelector('#token table tr')")
    assert len(asked) == 2
    page.evaluate("window.end()")
    assert page.evaluate("window.told.size") == 0
    assert not shown.complaints
