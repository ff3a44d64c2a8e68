"""``embevo recover`` of a run that several processes have recorded."""

from pathlib import Path

from click.testing import CliRunner
from embevo_cli.main import embevo

from support.ranks import SHARDS, create


def test_who_was_ahead_is_said(tmp_path: Path) -> None:
    ranks = create(tmp_path / "run")
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(3 if rank else 5))
    ranks.leave()
    done = CliRunner().invoke(embevo, ["recover", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "AHEAD: rank 0 on node0 had 2 more steps: 3..4" in done.output
