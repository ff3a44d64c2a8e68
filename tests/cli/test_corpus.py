from pathlib import Path

import pytest
from click.testing import CliRunner
from embevo_cli.corpus import corpus

from embevo.errors import CorpusError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(corpus, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_list_names_every_corpus_with_source_and_licence() -> None:
    output = run("list")
    for expected in (
        "python-reference",
        "PSF-2.0",
        "253,957",
        "gatsby",
        "embevo corpus gatsby",
        "public domain",
    ):
        assert expected in output


def test_show_a_known_one_and_a_file(tmp_path: Path) -> None:
    output = run("show", "python-reference")
    assert "live     79 of 128 token ids: 10, 32-34" in output
    assert "dead     49 of 128 token ids: 0-9, 11-31" in output
    path = tmp_path / "x.bin"
    path.write_bytes(b"ab\x80")
    assert "live     3 of 256 token ids: 97-98, 128" in run("show", str(path))


def test_show_a_missing_one() -> None:
    with pytest.raises(CorpusError, match="there is no corpus nowhere"):
        run("show", "nowhere")
