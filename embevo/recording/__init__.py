"""The training side: how tensors get from the loop to the run.

Not public, free to change with any version; docs/api.md names what is public.
"""
