"""Lecture 15, more than one GPU: the slides' numbers, from the package's networks."""


def numbers() -> dict:
    """Nothing that the slides say on this can be computed from a network of theirs."""
    return {}


# AlexNet's two cards, and the rule of thumb that a backward pass costs two forward passes.
QUOTED = "S002-020 S001-104"
