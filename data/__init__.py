"""What the experiment ships: corpora and their registry.

Not public, free to change with any version; docs/api.md names what is public.
"""
