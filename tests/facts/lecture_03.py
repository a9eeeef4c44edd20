"""Lecture 3, small parts: the slides' numbers, from the package's layers."""

import re

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.layers import batch_norm, max_pool2d, relu_prime


def variances() -> str:
    """Which variance batch norm divides by, and which one it keeps."""
    x = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    norm = nn.BatchNorm2d(1, eps=1e-12, momentum=1.0, dtype=torch.float64)
    out = norm(x)
    deviations = {"1/m": x.std(correction=0), "1/(m-1)": x.std(correction=1)}
    (used,) = [n for n, d in deviations.items() if torch.allclose(out, (x - x.mean()) / d)]
    (kept,) = [n for n, d in deviations.items() if torch.allclose(norm.running_var, d**2)]
    return f"normalizes with {used}, stores running_var with {kept}"


def numbers() -> dict:
    """By the slides' ids (several with blanks between): what ours give."""
    i = torch.arange(9)
    chalk = ((i[:, None] == i) | (i[:, None] + i == 8)) & (i > 0) & (i < 8)
    cross, falling = torch.where(chalk, 1.0, -1.0), 2 * torch.eye(3) - 1
    rising = falling.flip(1)
    strokes = {
        "S004-021": falling,
        "S004-022": torch.maximum(falling, rising),
        "S004-023": rising,
    }
    pooled = {
        fact: max_pool2d(F.conv2d(cross[None, None], w[None, None]) / 9, 2, ceil_mode=True)[0, 0]
        for fact, w in strokes.items()
    }
    return pooled | {
        "S002-001": batch_norm(torch.tensor([[0.0], [2.0]]).double())[0].flatten(),
        "S003-022": relu_prime(torch.zeros(1)).item(),
        "S004-028": [name for name in dir(nn) if re.fullmatch("BatchNorm[123].", name)],
        "S004-029": variances(),
    }


# A depth from which batch norm helps, a learning rate to begin with, the usual windows.
QUOTED = "S000-068 S000-120 S001-097 S004-027"
