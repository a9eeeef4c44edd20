"""Lecture 14, convolution on the GPU: what the slides say of their kernel."""


def numbers() -> dict:
    """Nothing that the slides say on this is a number of a network."""
    return {}


# Two names for one variable, types that wrap, and the alignments of vector loads.
QUOTED = "S004-033 S004-034 S004-115"
