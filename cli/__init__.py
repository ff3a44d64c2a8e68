"""The command line: one click command a file.

Not public, free to change with any version; docs/api.md names what is public.
"""
