"""Filters learned from photographs without any labels."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["mosaic", "patch_filters"]


def patch_filters(
    images: list[Tensor], size: int = 11, count: int = 64, patches: int = 6000, seed: int = 0
) -> Tensor:
    """The patterns that patches of photographs are best put together from.

    Independent component analysis: whiten the patches, then turn the axes until each patch
    needs as few of them as possible. Computed on the CPU in float64, so that every machine
    finds the same.

    Parameters
    ----------
    images
        ``(3, H, W)`` each, in [0, 1].
    size
        Side of a patch, in pixels.
    count
        How many patterns.
    patches
        How many patches to learn from, drawn from all images alike.

    Returns
    -------
    Tensor
        Shape (count, 3, size, size), float64, mean zero.

    Source
    ------
    A. Hyvärinen, "Fast and robust fixed-point algorithms for independent component analysis",
    IEEE Transactions on Neural Networks 10, 1999; on photographs A. Bell and T. Sejnowski, "The
    'independent components' of natural scenes are edge filters", Vision Research 37, 1997.
    """
    if not 0 < count < 3 * size**2:
        raise ValueError(f"count {count} must be between 1 and {3 * size**2 - 1}, for size {size}")
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for image in images:
        all_patches = F.unfold(image[None].double().cpu(), size)[0].T
        order = torch.randperm(len(all_patches), generator=generator)
        parts.append(all_patches[order[: patches // len(images)]])
    x = torch.cat(parts)
    x = x - x.mean(0)
    variances, axes = torch.linalg.eigh(x.T @ x / len(x))
    axes, deviations = axes[:, -count:], variances[-count:].sqrt()
    white = x @ axes / deviations
    turn = torch.linalg.qr(torch.randn(count, count, generator=generator, dtype=x.dtype)).Q
    for _ in range(40):
        answers = torch.tanh(white @ turn)
        turn = white.T @ answers / len(x) - turn * (1 - answers**2).mean(0)
        left, _, right = torch.linalg.svd(turn)
        turn = left @ right
    patterns = (axes * deviations @ turn).T.reshape(count, images[0].shape[0], size, size)
    return patterns - patterns.mean((1, 2, 3), keepdim=True)


def mosaic(filters: Tensor, columns: int = 16) -> Tensor:
    """Filters (N, C, k, k) side by side as one image (C, H, W), zero as gray, a frame of white."""
    filters = filters.detach().cpu()
    shown = 0.5 + filters / filters.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12) / 2
    framed = F.pad(shown, (1, 1, 1, 1), value=1.0)
    rows = [torch.cat(list(row), dim=2) for row in framed.split(columns)]
    width = max(row.shape[2] for row in rows)
    return torch.cat([F.pad(row, (0, width - row.shape[2]), value=1.0) for row in rows], dim=1)
