"""What is measured of a trajectory, one measure a file."""
