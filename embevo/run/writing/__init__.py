"""Making a run: claiming its directory, creating it, sealing blocks."""
