"""Rows back from a run, live or finished, each checked against what was written."""
