"""What is measured of a trajectory, one measure a file.

``registry`` lists the measures, and ``measure`` says what one is.

The other files are the formulas that several measures, figures or verdicts share, one a file.
"""
