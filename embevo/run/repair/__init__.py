"""Verifying, recovering, rebuilding and rewinding a run."""
