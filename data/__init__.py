"""What the experiment ships: corpora and their registry."""
