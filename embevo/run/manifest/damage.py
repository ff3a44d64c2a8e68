"""Whether the files of a block are still what was written."""

from collections.abc import Iterator

from embevo.run.disk.checksum import file_digest
from embevo.run.manifest.entry import Entry
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths


def damaged_files(paths: RunPaths, manifest: Manifest, entry: Entry) -> Iterator[tuple[str, str]]:
    """The chunk files of an entry that are not what was written, as ``(key, what is wrong)``."""
    for key in entry["files"]:
        path = paths.trajectory / key
        versions = [entry]
        if entry["kind"] == "block":
            versions = manifest.of_block(entry["block"], entry["rows"][1])
        actual = file_digest(path, max(version["files"][key][0] for version in versions))
        if actual is None:
            yield key, "is missing"
        elif actual not in [version["files"][key] for version in versions]:
            yield key, f"is not what was written ({actual[0]} bytes; {entry['files'][key][0]} were written)"
