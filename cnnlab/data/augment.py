"""Augmentations: `torchvision.transforms.v2` for batches, each image changed on its own."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["AUGMENTATIONS", "Augmentation", "augmentation", "moved", "per_image"]

Augmentation = Callable[[Tensor], Tensor]  # (N, C, H, W) to (N, C, H, W)


class per_image:
    """Apply a transform to each image of a batch: v2 alone draws one crop for the whole batch."""

    def __init__(self, transform: Callable[[Tensor], Tensor]):
        self.transform = transform

    def __call__(self, images: Tensor) -> Tensor:
        return torch.stack([self.transform(image) for image in images])

    def __repr__(self) -> str:
        return f"per_image({self.transform})"


class ShiftAndFlip:
    """Pad, cut out at a random place, mirror half of the images: a whole batch on any device.

    ``per_image(v2.Compose([v2.RandomCrop(size, pad), v2.RandomHorizontalFlip()]))`` in one
    operation instead of a loop: the augmentation of the ResNet paper's CIFAR experiments
    (section 4.2, pad 4).
    """

    def __init__(self, pad: int = 4, flip: bool = True):
        self.pad, self.flip = pad, flip

    def __call__(self, images: Tensor) -> Tensor:
        n, _, height, width = images.shape
        # Drawn on the CPU: the same cuts whatever the device.
        top, left = torch.randint(2 * self.pad + 1, (2, n)).to(images.device)
        mirrored = (torch.rand(n) < 0.5 * self.flip).to(images.device)
        rows = top[:, None] + torch.arange(height, device=images.device)
        columns = torch.arange(width, device=images.device).expand(n, width)
        columns = left[:, None] + torch.where(mirrored[:, None], columns.flip(1), columns)
        padded = F.pad(images, [self.pad] * 4)
        index = torch.arange(n, device=images.device)[:, None, None]
        # An index on either side of the channels puts them last.
        return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    def __repr__(self) -> str:
        return f"ShiftAndFlip(pad={self.pad}, flip={self.flip})"


def moved(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Each image (N, 1, H, W) as another hand and another lamp would give it.

    Drawn evenly for each: a turn of at most 20 degrees, a shift of at most 15 % of the side, a size
    of 77 % to 100 %, a stroke up to half a pixel thicker, a contrast of 35 % to 75 %, a brightness
    that changes over the image; and noise for each pixel (a deviation of 0.05). A whole batch at
    once, on the device of the images.
    """
    u = (2 * torch.rand(len(images), 9, generator=generator) - 1).to(images.device)
    turn, scale = u[:, 0] * torch.pi / 9, 1.15 + 0.15 * u[:, 1]
    cos, sin = turn.cos() * scale, turn.sin() * scale
    rows = (cos, -sin, 0.3 * u[:, 2]), (sin, cos, 0.3 * u[:, 3])
    grid = F.affine_grid(
        torch.stack([torch.stack(row, 1) for row in rows], 1), images.shape, align_corners=False
    )
    ink = F.grid_sample(images, grid, align_corners=False)
    thick, contrast, down, right, light = u[:, 4:9, None, None, None].unbind(1)
    ink = ink + (1 + thick) / 4 * (F.max_pool2d(ink, 3, 1, 1) - ink)
    y, x = (torch.linspace(-1, 1, side, device=images.device) for side in images.shape[-2:])
    lit = 0.5 + (0.55 + 0.2 * contrast) * (ink - 0.5)
    lit = lit + 0.25 * (down * y[:, None] + right * x) + 0.2 * light
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    return (lit + 0.05 * noise).clamp(0, 1)


def _v2(*steps: tuple) -> per_image:
    """v2's transforms by name and arguments; torchvision is slow to import, so only here."""
    from torchvision.transforms import v2

    made = [getattr(v2, name)(*args, **options) for name, args, options in steps]
    return per_image(v2.Compose(made))


COLOURS = ("ColorJitter", (0.3, 0.3, 0.3, 0.05), {})
AUGMENTATIONS: dict[str, Callable[[], Augmentation | None]] = {
    "none": lambda: None,
    "shift": lambda: ShiftAndFlip(pad=1, flip=False),  # for digits: a mirrored 2 is no 2
    "shift_flip": ShiftAndFlip,
    "affine": lambda: _v2(("RandomAffine", (15, (0.1, 0.1), (0.85, 1.15)), {})),
    "colour": lambda: _v2(COLOURS),
    "heavy": lambda: _v2(
        ("RandomHorizontalFlip", (), {}),
        ("RandomAffine", (30, (0.15, 0.15), (0.8, 1.2)), {}),
        COLOURS,
        ("RandomErasing", (0.25, (0.02, 0.15)), {}),
    ),
}


def augmentation(name: str | Augmentation | None) -> Augmentation | None:
    """An augmentation of this table by name; a function and None are handed back as they are.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if not isinstance(name, str):
        return name
    if name not in AUGMENTATIONS:
        raise ValueError(f"augmentation {name!r} is none of {', '.join(AUGMENTATIONS)}")
    return AUGMENTATIONS[name]()
