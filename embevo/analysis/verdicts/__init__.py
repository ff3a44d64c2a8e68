"""The experiment's predictions and how each is decided."""
