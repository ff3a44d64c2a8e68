"""Recording from loops that embevo does not own, one framework a file."""
