"""A run that is being brought into order: what there is to mend it from, and what was done so far."""

from dataclasses import dataclass

from embevo.run.disk.atomic import write_file
from embevo.run.format.layout import Layout
from embevo.run.journal.ring import Journal
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.manifest.entry import Entry
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.repair.report import Recovery


@dataclass(frozen=True)
class Repair:
    """What every part of a recovery works on; the writer's lock is held.

    Attributes:
        paths: of the run.
        layout: of the run.
        manifest: of the run, as far as it was read.
        appender: adds to the manifest.
        journal: the ring, writable; it may still hold rows that are sealed. None if there is none.
        report: what was done, and what could not be done; added to.
    """

    paths: RunPaths
    layout: Layout
    manifest: Manifest
    appender: ManifestAppender
    journal: Journal | None
    report: Recovery

    def enter(self, entry: Entry) -> None:
        """Add an entry to the manifest, and know of it."""
        self.appender.append(entry, sync=True)
        self.manifest.refresh()

    def write(self, key: str, data: bytes | memoryview) -> None:
        """Write a file of the run, named below its directory; it survives a power cut."""
        path = self.paths.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data, sync=True)

    def rebuilt(self, key: str, data: bytes | memoryview) -> None:
        """:meth:`write` a damaged file again, and report that."""
        self.write(key, data)
        self.report.rebuilt.append(key)
