"""A run of another program's model on the command line: ids, no verdicts, and the matrix is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from embevo import Recorder

TOKENS, DIM = 400, 6


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary that is not bytes, a gradient that starts at zero, and counts."""
    path = tmp_path_factory.mktemp("other") / "mine"
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(TOKENS, DIM, generator=generator))
    gradient = torch.nn.Parameter(torch.zeros(TOKENS, DIM))
    counts = np.arange(TOKENS) % 50
    with Recorder(
        path, {"embeddings": weight, "gradient": gradient}, token_count=counts, attributes={"lr": 0.1}
    ) as recorder:
        for step in range(8):
            with torch.no_grad():
                if step:
                    gradient.copy_(torch.randn(TOKENS, DIM, generator=generator))
                weight -= 0.1 * gradient
            recorder.capture(step, loss=1 / (step + 1))
    return path


@pytest.mark.parametrize("matrix", ["embeddings", "gradient"])
def test_a_report_says_what_it_is_of_and_judges_nothing(
    invoke: Any, run: Path, tmp_path: Path, matrix: str
) -> None:
    page = tmp_path / "page.html"
    assert invoke("report", run, "-o", page, "--matrix", matrix).exit_code == 0
    text = page.read_text()
    assert ("Evolution of gradient: mine" in text) == (matrix == "gradient")
    assert "The predictions of embevo&#x27;s experiment are" in text
    for word in ("✓ supported", "✗ refuted", "? undecided", "Singular initialisation", 'id="thresholds"'):
        assert word not in text, word
    assert ("--matrix gradient" in text) == (matrix == "gradient")


def test_figures_and_films_of_another_matrix(invoke: Any, run: Path, tmp_path: Path) -> None:
    both = {}
    for matrix in ("embeddings", "gradient"):
        folder = tmp_path / matrix
        assert invoke("figures", run, "--out", folder, "--only", "cloud", "--matrix", matrix).exit_code == 0
        film = tmp_path / f"{matrix}.gif"
        assert invoke("animate", run, "-o", film, "--frames", 3, "--matrix", matrix).exit_code == 0
        with Image.open(film) as gif:
            assert gif.n_frames == 3
        part = tmp_path / f"{matrix}-part.gif"
        assert invoke("animate", run, "-o", part, "--frames", 9, "--from", 2, "--to", 3).exit_code == 0
        with Image.open(part) as gif:
            assert gif.n_frames == 2
        both[matrix] = ((folder / "cloud.png").read_bytes(), film.read_bytes())
    assert all(one != other for one, other in zip(*both.values(), strict=True))


@pytest.mark.parametrize("command", ["analyze", "report", "figures", "animate"])
def test_a_matrix_that_is_not_there_is_named_with_those_that_are(
    invoke: Any, run: Path, tmp_path: Path, command: str
) -> None:
    out = {"report": ("-o", tmp_path / "a.html"), "animate": ("-o", tmp_path / "a.gif")}.get(command, ())
    result = invoke(command, run, *out, "--matrix", "wte")
    assert result.exit_code == 2
    message = " ".join(result.stderr.split())
    assert "has no matrix 'wte'; its matrices are" in message
    assert "gradient" in message


def test_dead_tokens_are_ids(invoke: Any, run: Path) -> None:
    assert "dead 0, 50, 100, 150, 200, 250, 300, 350" in " ".join(invoke("info", run).output.split())
