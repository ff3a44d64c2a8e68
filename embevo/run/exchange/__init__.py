"""Runs from and to folders of per-step safetensors files."""
