"""A copy of a run in object storage: sent while it is recorded or afterwards, and brought back."""
