"""Figures of a run, one idea a file."""

from importlib.util import find_spec

from embevo.errors import MissingLibraryError

if find_spec("matplotlib") is None:
    raise MissingLibraryError("Figures need matplotlib: pip install 'embevo[analysis]'.")
