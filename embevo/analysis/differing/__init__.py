"""Where two recordings part: runs, folders of safetensors files, Zarr arrays and checkpoints, bit by bit."""
