import hashlib
import importlib
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from embevo.errors import CorpusError
from embevo.experiment import corpus as corpus_module
from embevo.experiment.corpus import id_ranges, known_corpora, load_corpus


def test_the_default_corpus_is_what_the_registry_says() -> None:
    known = known_corpora()["python-reference"]
    loaded = load_corpus("python-reference", 128, 128)
    data = files("embevo_data").joinpath("python-reference.txt").read_bytes()
    assert loaded.tokens.tobytes() == data
    assert loaded.sha256 == known.sha256 == hashlib.sha256(data).hexdigest()
    assert loaded.byte_count == known.bytes == len(data)
    assert id_ranges(loaded.live_ids) == known.live_token_ids
    assert loaded.token_count.dtype == np.int64
    assert loaded.token_count.sum() == len(data)
    assert loaded.token_count[ord("e")] == data.count(b"e")


def test_the_default_corpus_is_long_ascii_prose_with_dead_tokens() -> None:
    loaded = load_corpus("python-reference", 128, 128)
    assert loaded.byte_count >= 240_000
    assert 45 <= len(loaded.dead_ids) <= 55
    assert loaded.tokens.max() < 128
    words = loaded.tokens.tobytes().lower().split()
    # English prose: its commonest word makes up several percent.
    assert words.count(b"the") / len(words) > 0.04


def test_the_script_makes_the_shipped_file(tmp_path: Path) -> None:
    topics = pytest.importorskip("pydoc_data.topics")
    source = hashlib.sha256(Path(topics.__file__).read_bytes()).hexdigest()
    if source != "abaa56a64551d8eead1b19cbae3c6db443f99f0cab81df07bed3cb75c0db9346":
        pytest.skip("the reference text of this Python is not CPython 3.11.7's")
    data = files("embevo_data")
    made = tmp_path / "made.txt"
    script = str(Path(__file__).parents[2] / "scripts/make_python_reference.py")
    subprocess.run([sys.executable, script, str(made)], check=True)
    assert made.read_bytes() == data.joinpath("python-reference.txt").read_bytes()


def test_a_damaged_shipped_corpus_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = bytearray(files("embevo_data").joinpath("python-reference.txt").read_bytes())
    data[1000] ^= 1
    (tmp_path / "python-reference.txt").write_bytes(data)
    registry = known_corpora()
    monkeypatch.setattr(corpus_module, "files", lambda _: tmp_path)
    monkeypatch.setattr(corpus_module, "known_corpora", lambda: registry)
    with pytest.raises(CorpusError, match="it is damaged"):
        load_corpus("python-reference", 128, 128)


def test_missing_empty_and_short(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="neither a file nor one of python-reference, gatsby"):
        load_corpus(str(tmp_path / "none.txt"), 128, 8)
    with pytest.raises(CorpusError, match="cannot read the corpus"):
        load_corpus(str(tmp_path), 128, 8)
    path = tmp_path / "a.txt"
    path.write_bytes(b"")
    with pytest.raises(CorpusError, match="is empty"):
        load_corpus(str(path), 128, 8)
    path.write_bytes(b"12345678")
    with pytest.raises(CorpusError, match="holds 8 tokens; a context of 8 needs at least 9"):
        load_corpus(str(path), 128, 8)
    path.write_bytes(b"123456789")
    assert len(load_corpus(str(path), 128, 8).tokens) == 9


def test_bytes_outside_the_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "b.bin"
    path.write_bytes(b"plain text, then \x80 and \xff and \x80 again")
    with pytest.raises(CorpusError) as refused:
        load_corpus(str(path), 128, 8)
    assert "holds 3 of 36 bytes that are not among the 128 token ids: 0x80, 0xff" in str(refused.value)
    assert "the first at offset 17" in str(refused.value)
    assert "--drop-out-of-vocab" in str(refused.value)
    kept = load_corpus(str(path), 128, 8, drop_out_of_vocab=True)
    assert kept.tokens.tobytes() == b"plain text, then  and  and  again"
    assert kept.dropped == 3
    assert kept.byte_count == 36
    whole = load_corpus(str(path), 256, 8)
    assert whole.token_count[0x80] == 2
    assert whole.token_count.shape == (256,)


def test_gatsby_is_never_fetched_by_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(corpus_module, "fetched_path", lambda name: tmp_path / f"{name}.txt")
    with pytest.raises(CorpusError, match="run `embevo corpus gatsby` first"):
        load_corpus("gatsby", 128, 8)
    (tmp_path / "gatsby.txt").write_bytes(b"In my younger and more vulnerable years")
    assert load_corpus("gatsby", 128, 8).name == "gatsby"


def test_id_ranges() -> None:
    assert id_ranges([]) == ""
    assert id_ranges([3]) == "3"
    assert id_ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"


@pytest.mark.parametrize(
    ("module", "program"), [("gzip", "gunzip -c"), ("bz2", "bunzip2 -c"), ("lzma", "unxz -c")]
)
def test_a_compressed_text_is_refused_with_what_to_do(tmp_path: Path, module: str, program: str) -> None:
    path = tmp_path / "a text"
    path.write_bytes(importlib.import_module(module).compress(b"a text" * 100))
    for vocab_size in (128, 256):
        with pytest.raises(CorpusError, match="is compressed") as refused:
            load_corpus(str(path), vocab_size, 8)
    advised = str(refused.value).partition("<(")[2].rpartition(")")[0]
    assert advised.startswith(program)
    done = subprocess.run(["bash", "-c", advised], capture_output=True, check=True)
    assert done.stdout == b"a text" * 100


@pytest.mark.parametrize(("encoding", "name"), [("utf-8-sig", "UTF-8"), ("utf-16", "UTF-16")])
def test_a_byte_order_mark_is_named(tmp_path: Path, encoding: str, name: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a text" * 100, encoding)
    with pytest.raises(CorpusError, match=f"byte order mark of {name};"):
        load_corpus(str(path), 128, 8)


def test_a_home_a_pipe_and_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("a text" * 100)
    assert load_corpus("~/a.txt", 128, 8).byte_count == 600
    with pytest.raises(CorpusError, match="has no name"):
        load_corpus("", 128, 8)
    reader, writer = os.pipe()
    os.write(writer, b"a text" * 100)
    os.close(writer)
    assert load_corpus(f"/dev/fd/{reader}", 128, 8).byte_count == 600
    os.close(reader)
    with pytest.raises(CorpusError, match="which is gone: pass the same text again with --corpus"):
        load_corpus(f"/dev/fd/{reader}", 128, 8)
