"""Loops over elements as machine code, where numba is there (``embevo[fast]``): they say what numpy says."""
