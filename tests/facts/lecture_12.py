"""Lecture 12, efficient networks: the slides' numbers, from the package's networks."""

from cnnlab import summary
from cnnlab.models import get_model


def numbers() -> dict:
    """By the slides' ids (several with blanks between): what our networks give."""
    names = ("alexnet_two_gpu", "squeezenet1_0")
    large, small = (get_model(name, device="meta").eval() for name in names)
    ratio = summary(large, large.input_size).total_params
    return {"S001-102": ratio / summary(small, small.input_size).total_params}


# 500 times smaller: with Deep Compression, which nothing here computes.
QUOTED = "S001-103"
