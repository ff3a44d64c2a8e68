"""Computing a recorded optimizer's steps again, bit for bit, and naming what does not follow.

The arithmetic is torch's own, so that this room needs torch where a run is audited, and the rest of the
analysis does not.
"""
