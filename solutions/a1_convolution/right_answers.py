"""Right answers to assignment 1, independent of its references and of each other."""

import math

import numpy as np
import torch
from torch import nn


def window_loops(image, kernel, row, col):
    total = 0.0
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            total += float(image[row + i, col + j]) * float(kernel[i, j])
    return total


def window_dot(image, kernel, row, col):
    h, w = kernel.shape
    return image.narrow(0, row, h).narrow(1, col, w).flatten() @ kernel.flatten()


def size_counted(n, k, padding=0, stride=1):
    places = 0
    for start in range(0, n + 2 * padding, stride):
        if start + k <= n + 2 * padding:
            places += 1
    return places


def size_range(n, k, padding=0, stride=1):
    return len(range(-padding, n + padding - k + 1, stride))


def size_floor(n, k, padding=0, stride=1):
    return math.floor((n + 2 * padding - k) / stride + 1)


def plain_loops(image, kernel):
    h, w = kernel.shape
    out = torch.empty(image.shape[0] - h + 1, image.shape[1] - w + 1)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = (image[i : i + h, j : j + w] * kernel).sum()
    return out


def plain_shifts(image, kernel):
    """One product for each number of the kernel, on the whole image at once."""
    rows, cols = (n - k + 1 for n, k in zip(image.shape, kernel.shape, strict=True))
    return sum(
        kernel[i, j] * image[i : i + rows, j : j + cols]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    )


def plain_columns(image, kernel):
    """im2col: every window a column, then one product of matrices."""
    rows, cols = (n - k + 1 for n, k in zip(image.shape, kernel.shape, strict=True))
    columns = nn.functional.unfold(image[None, None], kernel.shape)
    return (kernel.reshape(1, -1) @ columns[0]).reshape(rows, cols)


def plain_einsum(image, kernel):
    h, w = kernel.shape
    return torch.einsum("ijkl,kl->ij", image.unfold(0, h, 1).unfold(1, w, 1), kernel)


def plain_strided(image, kernel):
    view = np.lib.stride_tricks.sliding_window_view(image.numpy(), tuple(kernel.shape))
    return torch.from_numpy((view * kernel.numpy()).sum(axis=(2, 3)))


def flip_slices(image, kernel):
    turned = torch.tensor(kernel.numpy()[::-1, ::-1].copy())
    return plain_shifts(image, turned)


def flip_indices(image, kernel):
    h, w = kernel.shape
    out = torch.zeros(image.shape[0] - h + 1, image.shape[1] - w + 1)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for a in range(h):
                for b in range(w):
                    out[i, j] += image[i + a, j + b] * kernel[h - 1 - a, w - 1 - b]
    return out


def padding_loops(image, kernel, padding=0, stride=1):
    (rows, cols), (h, w) = image.shape, kernel.shape
    out = torch.zeros(
        (rows + 2 * padding - h) // stride + 1, (cols + 2 * padding - w) // stride + 1
    )
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for a in range(h):
                for b in range(w):
                    y, x = i * stride + a - padding, j * stride + b - padding
                    if 0 <= y < rows and 0 <= x < cols:
                        out[i, j] += image[y, x] * kernel[a, b]
    return out


def padding_unfold(image, kernel, padding=0, stride=1):
    h, w = kernel.shape
    padded = nn.functional.pad(image, [padding] * 4)
    windows = padded.unfold(0, h, stride).unfold(1, w, stride)
    return (windows * kernel).sum(dim=(2, 3))


def channels_loops(image, filters, bias):
    rows = image.shape[1] - filters.shape[2] + 1
    cols = image.shape[2] - filters.shape[3] + 1
    out = torch.zeros(len(filters), rows, cols)
    for f in range(len(filters)):
        for c in range(image.shape[0]):
            out[f] += plain_shifts(image[c], filters[f, c])
        out[f] += bias[f]
    return out


def channels_einsum(image, filters, bias):
    windows = image.unfold(1, filters.shape[2], 1).unfold(2, filters.shape[3], 1)
    return torch.einsum("cijkl,fckl->fij", windows, filters) + bias.reshape(-1, 1, 1)


def edges_slices(photo):
    grey = (photo[0] + photo[1] + photo[2]) / 3
    left, right = grey[:, :-2], grey[:, 2:]
    above, below = grey[:-2, :], grey[2:, :]
    across = (left - right)[:-2] + 2 * (left - right)[1:-1] + (left - right)[2:]
    down = (above - below)[:, :-2] + 2 * (above - below)[:, 1:-1] + (above - below)[:, 2:]
    return torch.hypot(across, down)


def edges_library(photo):
    sobel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    both = torch.stack([sobel, sobel.T])[:, None]
    return nn.functional.conv2d(photo.mean(0)[None, None], both)[0].norm(dim=0)


def match_loops(image, feature):
    h, w = feature.shape
    best = (-math.inf, 0, 0)
    for i in range(image.shape[0] - h + 1):
        for j in range(image.shape[1] - w + 1):
            score = float((image[i : i + h, j : j + w] * feature).mean())
            if score > best[0]:
                best = (score, i, j)
    return best


def match_where(image, feature):
    scores = plain_shifts(image, feature) / (feature.shape[0] * feature.shape[1])
    row, col = (scores == scores.max()).nonzero()[0]
    return scores[row, col], row, col


def counts_by_formula():
    side, filters, height, width = 5, 64, 200, 150
    one_filter = side**2 * 3
    places = (height - side + 1) * (width - side + 1)
    return {
        "fc parameters": filters * (3 * height * width + 1),
        "conv parameters": filters * (one_filter + 1),
        "conv outputs": filters * places,
        "conv MACs": filters * places * one_filter,
    }


def counts_by_torch():
    dense = nn.Linear(200 * 150 * 3, 64, device="meta")
    layer = nn.Conv2d(3, 64, 5, device="meta")
    maps = layer(torch.zeros(1, 3, 200, 150, device="meta"))
    return {
        "fc parameters": sum(p.numel() for p in dense.parameters()),
        "conv parameters": sum(p.numel() for p in layer.parameters()),
        "conv outputs": maps.numel(),
        "conv MACs": maps.numel() * layer.weight[0].numel(),
    }


ANSWERS = {
    "a1-window": (window_loops, window_dot),
    "a1-output-size": (size_counted, size_range, size_floor),
    "a1-loops": (plain_loops, plain_shifts, plain_einsum),
    "a1-flip": (flip_slices, flip_indices),
    "a1-vectorized": (plain_columns, plain_einsum, plain_strided),
    "a1-padding": (padding_loops, padding_unfold),
    "a1-channels": (channels_loops, channels_einsum),
    "a1-edges": (edges_slices, edges_library),
    "a1-match": (match_loops, match_where),
    "a1-counts": (counts_by_formula, counts_by_torch),
}
