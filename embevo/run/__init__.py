"""The run on disk: what a recording is made of and how it is read back."""
