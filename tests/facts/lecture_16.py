"""Lecture 16, transfer learning: the slides' table of advice is words, and measured there."""


def numbers() -> dict:
    """The slides print no number that a calculation gives."""
    return {}


# "You need a lot of data to train CNNs", which the lecture tries.
QUOTED = "S000-149"
