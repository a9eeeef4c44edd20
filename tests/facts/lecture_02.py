"""Lecture 2, shapes: the slides' numbers, from PyTorch and the closed forms."""

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab import output_size, receptive_field


def numbers() -> dict:
    """By the slides' ids (several with blanks between): what ours give."""
    maps = nn.Conv2d(3, 6, kernel_size=5)(torch.zeros(1, 3, 32, 32))
    return {
        "S000-007": (64 / output_size(64, 2, stride=2)) ** 2,
        "S004-009": output_size(6, 3, padding=1),
        "S004-010": list(F.pad(torch.zeros(6, 6), (1, 1, 1, 1)).shape),
        "S004-011": [output_size(6, 3, padding=1)] * 2,
        "S004-012": [output_size(7, 3, stride=2)] * 2,
        "S004-013": output_size(7, 3, stride=2),
        "S004-015": [*maps.shape[2:], maps.shape[1]],
        "S004-016": [receptive_field([3]).size] * 2,
        "S004-017": [receptive_field([3, 3]).size] * 2,
    }


QUOTED = ""
