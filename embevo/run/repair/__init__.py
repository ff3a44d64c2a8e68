"""Verifying, recovering, rebuilding, rewinding and compacting a run."""
