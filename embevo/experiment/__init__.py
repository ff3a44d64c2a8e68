"""The experiment: a tiny GPT-2 on bytes, with normal or singular initialisation."""
