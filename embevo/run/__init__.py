"""The run on disk: what a recording is made of and how it is read back.

Not public, free to change with any version; docs/api.md names what is public.
"""
