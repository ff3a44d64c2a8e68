"""A place beside the run's directory gets what the directory gets, in the same order."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embevo.run.disk.checksum import digests
from embevo.run.format.layout import Store
from embevo.run.reading.reader import open_run
from embevo.run.repair.recovery import recover
from embevo.run.writing.sink import SealedBlock
from support import written


class Beside:
    """Keeps what it is given in memory, and fails when it is told to."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.rows: list[int] = []
        self.error: OSError | None = None

    def snapshot(self, step: int, image: memoryview) -> None:
        self._keep(f"snapshots/step_{step:07d}.safetensors", image)

    def block(self, sealed: SealedBlock) -> None:
        for files, listed in ((sealed.files, sealed.entry.files), (sealed.metadata, sealed.entry.metadata)):
            assert digests(dict(files)) == listed
            for key, data in files.items():
                self._keep(f"trajectory.zarr/{key}", data)
        assert list(sealed.metadata)[-1] == "zarr.json"
        self.rows.append(sealed.entry.stop)

    def _keep(self, name: str, data: bytes | memoryview) -> None:
        if self.error is not None:
            raise self.error
        self.files[name] = bytes(data)


@given(
    rows=st.integers(1, 8),
    stops=st.sets(st.integers(1, 8)),
    store=st.sampled_from(["both", "zarr", "safetensors"]),
)
def test_it_gets_the_bytes_that_are_on_the_disk(
    tmp_path_factory: pytest.TempPathFactory, rows: int, stops: set[int], store: Store
) -> None:
    root = tmp_path_factory.mktemp("sinks") / "run"
    run = written.write_run(root, rows=rows, sealed=0, store=store)
    beside = Beside()
    run.sealer.sinks.append(beside)
    sealed = sorted({*stops, 4, rows} & set(range(1, rows + 1)))
    for row in range(rows):
        run.sealer.snapshot(run.journal, row)
        if row + 1 in sealed:
            run.sealer.seal(run.journal, row + 1)
    run.journal.close()
    assert beside.rows == sealed
    on_disk = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for folder in ("trajectory.zarr", "snapshots")
        for path in (root / folder).rglob("*")
        if path.is_file()
    }
    assert beside.files == {name: data for name, data in on_disk.items() if name in beside.files}
    given = {name for name in on_disk if "/token/" not in name and "/token_count/" not in name}
    assert given <= beside.files.keys(), "constants are there before the first row, all else was given"


def test_where_it_fails_the_rows_stay_in_the_journal(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=6, sealed=4)
    beside = Beside()
    beside.error = OSError(28, "No space left on device", "elsewhere")
    run.sealer.sinks.append(beside)
    with pytest.raises(OSError, match="elsewhere"):
        run.sealer.seal(run.journal, 6)
    assert run.sealer.rows == 4
    run.journal.close()
    assert recover(tmp_path / "run").lost == []
    assert open_run(tmp_path / "run").steps.tolist() == list(range(6))
