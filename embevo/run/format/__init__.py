"""What a run's bytes mean: frames, dtypes, Zarr layout, steps and tokens. Pure: nothing here writes."""
