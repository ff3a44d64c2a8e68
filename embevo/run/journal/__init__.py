"""The ring that a capture writes into: a mapped file that survives the process."""
