"""Lecture 0: the two numbers of the slides that it once showed."""

from cnnlab import summary
from cnnlab.models import get_model


def numbers() -> dict:
    """By the slides' ids (several with blanks between): what our networks give."""
    alexnet = summary(get_model("alexnet", device="meta"), (3, 227, 227))
    return {"S004-001": 1000 * 1000 * 3, "S002-073": alexnet["classifier.1"].params}


QUOTED = ""
