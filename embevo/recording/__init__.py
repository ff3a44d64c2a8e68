"""The training side: how tensors get from the loop to the run."""
