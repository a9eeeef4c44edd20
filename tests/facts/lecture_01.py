"""Lecture 1, convolution: the slides' numbers, from PyTorch's own convolution."""

import torch
import torch.nn.functional as F

from cnnlab.shapes import output_size


def slide(image, kernel):
    return F.conv2d(image[None, None], kernel[None, None])[0, 0]


def numbers() -> dict:
    """By the slides' ids (several with blanks between): what PyTorch gives."""
    inputs = 1000 * 1000 * 3
    image, kernel = torch.zeros(6, 6), torch.tensor([[1.0, 0.0, -1.0]] * 3)
    image[:, :3] = 8
    edges = slide(image, kernel)
    i = torch.arange(9)
    chalk = ((i[:, None] == i) | (i[:, None] + i == 8)) & (i > 0) & (i < 8)
    cross, falling = torch.where(chalk, 1.0, -1.0), 2 * torch.eye(3) - 1
    rising = falling.flip(1)
    matches = slide(cross, falling) / 9
    return {
        "S004-001": inputs,
        "S004-002": inputs,
        "S004-003": 100 * inputs * 8,
        "S004-004": edges[0, 0],
        "S004-005": edges[0, 1],
        "S004-006 S004-007": edges,
        "S004-008": [output_size(6, 3)] * 2,
        "S004-014": kernel.flip(0, 1),
        "S004-018": matches[1, 1],
        "S004-019": matches[3, 3],
        "S004-020 S004-024": matches,
        "S004-025": slide(cross, torch.maximum(falling, rising)) / 9,
        "S004-026": slide(cross, rising) / 9,
    }


QUOTED = ""
