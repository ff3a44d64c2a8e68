"""The append-only list of what was written, with checksums."""
