"""The experiment: a tiny GPT-2 on bytes, with normal or singular initialisation.

Not public, free to change with any version; docs/api.md names what is public.
"""
