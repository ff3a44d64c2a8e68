"""Files and what can happen to them: whole writes, safe opens, checksums, the writer's lock."""
