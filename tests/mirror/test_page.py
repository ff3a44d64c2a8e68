"""The example of the page on object storage, as it stands there, against the server on the loopback."""

import os
import re
import subprocess
import sys
from pathlib import Path

from support.faulty_proxy import FaultyProxy

PAGE = Path(__file__).parent.parent.parent / "docs" / "object-storage.md"


def test_the_examples_run_one_after_the_other(tmp_path: Path, url: str, proxy: FaultyProxy) -> None:
    page = PAGE.read_text()
    examples = re.findall(r"<!-- test: (\w+) -->\n```python\n(.*?)```", page, re.DOTALL)
    assert [name for name, _ in examples] == ["mirror", "there", "back"]
    assert page.count("```python") == len(examples)
    bucket = url.split("/")[2]
    for name, code in examples:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code.replace("s3://bucket/", f"s3://{bucket}/")],
            cwd=tmp_path,
            env=os.environ | {"PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (name, done.stderr)
        for printed in re.findall(r"^print\(.*# (.*)$", code, re.MULTILINE):
            assert printed in done.stdout, (name, done.stdout)
