"""Pictures of shapes, textures and colours, drawn by a formula: as many as you like, no network.

Every machine draws the same pixels. The random numbers come from NumPy's ``RandomState``, whose
sequence is frozen, and the drawing uses only what IEEE 754 fixes to the last bit (``+ - * /``,
square root, floor, comparisons): no sine, no matrix product. Rotations use rational points of
the unit circle, ``((1 - t²) / (1 + t²), 2t / (1 + t²))``.
"""

from collections.abc import Sequence
from itertools import product
from typing import Literal

import numpy as np
import torch

from cnnlab.data.bundled import SPLITS
from cnnlab.data.image_set import ImageSet

__all__ = ["COLOURS", "SHAPES", "TEXTURES", "patterns"]

Plane = np.ndarray  # (N, H, W), one value a pixel


def _box(x: Plane, y: Plane, width: float, height: float) -> Plane:
    return np.maximum(np.abs(x) - width, np.abs(y) - height)


def _disc(x: Plane, y: Plane, radius: float) -> Plane:
    return np.sqrt(x * x + y * y) - radius


def _triangle(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.maximum(0.866 * x, -0.866 * x) - 0.5 * y, y) - 0.5


def _star(x: Plane, y: Plane) -> Plane:
    """A triangle and the same upside down."""
    return np.minimum(_triangle(x, y), _triangle(x, -y))


# Below zero inside, above zero outside; y runs down; all fit the disc of radius 1.1.
SHAPES = {
    "disc": lambda x, y: _disc(x, y, 0.8),
    "square": lambda x, y: _box(x, y, 0.7, 0.7),
    "triangle": _triangle,
    "ring": lambda x, y: np.abs(_disc(x, y, 0.7)) - 0.2,
    "cross": lambda x, y: np.minimum(_box(x, y, 0.9, 0.28), _box(x, y, 0.28, 0.9)),
    "bar": lambda x, y: _box(x, y, 1.0, 0.3),
    "half disc": lambda x, y: np.maximum(_disc(x, y + 0.4, 0.95), -0.4 - y),
    "frame": lambda x, y: np.abs(_box(x, y, 0.6, 0.6)) - 0.17,
    "ell": lambda x, y: np.minimum(_box(x + 0.5, y, 0.27, 0.85), _box(x, y - 0.58, 0.77, 0.27)),
    "crescent": lambda x, y: np.maximum(_disc(x, y, 0.9), -_disc(x - 0.45, y, 0.75)),
    "star": _star,
    "tee": lambda x, y: np.minimum(_box(x, y + 0.58, 0.85, 0.27), _box(x, y, 0.27, 0.85)),
    "twins": lambda x, y: np.minimum(_disc(x - 0.52, y, 0.42), _disc(x + 0.52, y, 0.42)),
    "wedge": lambda x, y: np.maximum(_disc(x, y, 0.9), np.minimum(x, -y)),
}


def _wave(x: Plane) -> Plane:
    """A triangle wave of period 1 between 0 and 1."""
    return 2 * np.abs(x - np.floor(x) - 0.5)


# 0 where the texture is dark and 1 where it is bright; one period is one unit.
TEXTURES = {
    "plain": lambda x, y: np.ones_like(x),
    "stripes": lambda x, y: _wave(x),
    "checks": lambda x, y: (np.floor(2 * x) + np.floor(2 * y)) % 2,
    "dots": lambda x, y: np.clip(3 * (_wave(x) ** 2 + _wave(y) ** 2) - 3.2, 0, 1),
    "grid": lambda x, y: np.clip(4 * np.minimum(_wave(x), _wave(y)) - 0.5, 0, 1),
    "zigzag": lambda x, y: _wave(x + 0.6 * _wave(y)),
    "circles": lambda x, y: _wave(np.sqrt(x * x + y * y)),
    "fade": lambda x, y: np.clip(0.5 + 0.5 * x, 0, 1),
}
COLOURS = {
    "red": (0.85, 0.15, 0.15),
    "orange": (0.95, 0.55, 0.10),
    "yellow": (0.95, 0.90, 0.15),
    "green": (0.15, 0.65, 0.20),
    "cyan": (0.15, 0.80, 0.85),
    "blue": (0.15, 0.25, 0.90),
    "purple": (0.55, 0.15, 0.75),
    "pink": (0.95, 0.50, 0.75),
}
KINDS = {"shape": tuple(SHAPES), "texture": tuple(TEXTURES), "colour": tuple(COLOURS)}


def patterns(
    split: Literal["train", "validation", "test"] = "train",
    count: int = 1000,
    size: int = 32,
    *,
    classes: int | Sequence[str] = 8,
    by: str | Sequence[str] = "shape",
    difficulty: float = 0.5,
    seed: int = 0,
) -> ImageSet:
    """Colour pictures of one textured shape each, drawn by a formula from a seed.

    Every picture has a shape (14), a texture (8) and a colour (8). ``by`` says which of them is
    the class; the others are drawn at random, so a network has to find what matters. The first
    images of a larger set are those of a smaller one, and the classes take turns.

    Parameters
    ----------
    split
        The three never share a picture: each draws from its own sequence.
    count
        How many pictures.
    size
        Height and width in pixels, 16 to 64.
    classes
        How many classes, or their names, such as ``("disc", "ring")``.
    by
        ``"shape"``, ``"texture"``, ``"colour"``, or several of them: ``("shape", "colour")`` has
        a class ``"disc, red"`` for each pair.
    difficulty
        0: upright, centred, clean. 1: turned by up to 90°, small or large, anywhere, weak in
        contrast, noisy, on an uneven ground.
    seed
        Another seed, other pictures of the same kind.

    Returns
    -------
    ImageSet
        Images (count, 3, size, size), float32 in [0, 1]; labels 0 to classes - 1.

    Raises
    ------
    ValueError
        If an argument is out of its range, with the range.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
    if count < 1:
        raise ValueError(f"count {count} is below 1 picture")
    if not 16 <= size <= 64:
        raise ValueError(f"size {size} is not within 16 to 64 pixels")
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty {difficulty} is not within 0 to 1")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed {seed} is not within 0 to {2**32 - 1}")
    factors = (by,) if isinstance(by, str) else tuple(by)
    for factor in factors:
        if factor not in KINDS:
            raise ValueError(f"by {factor!r} is none of {', '.join(KINDS)}")
    names = _class_names(classes, factors)
    labels = np.arange(count) % len(names)

    draws = _uniform(seed, split, 0, (count, 15))
    noise = _uniform(seed, split, 1, (count, size, size)) - 0.5
    kinds = {
        factor: (draws[:, i] * len(KINDS[factor])).astype(int) for i, factor in enumerate(KINDS)
    }
    for i, factor in enumerate(factors):
        of_class = [KINDS[factor].index(name.split(", ")[i]) for name in names]
        kinds[factor] = np.array(of_class)[labels]
    images = np.empty((count, size, size, 3), np.float32)
    for start in range(0, count, 256):  # the planes of a few hundred pictures fit the cache
        part = slice(start, start + 256)
        drawn = _draw({k: v[part] for k, v in kinds.items()}, draws[part], noise[part], difficulty)
        images[part] = np.floor(drawn * 255 + 0.5) / 255
    return ImageSet(
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(labels),
        names,
        f"patterns by {' and '.join(factors)} ({split})",
    )


def _uniform(seed: int, split: str, stream: int, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform numbers in 0 to 1, filled image by image: more images leave the first the same."""
    random = np.random.RandomState([seed, SPLITS.index(split), stream])
    return random.random_sample(shape)


def _class_names(classes: int | Sequence[str], factors: tuple[str, ...]) -> list[str]:
    known = [", ".join(kinds) for kinds in product(*(KINDS[factor] for factor in factors))]
    if isinstance(classes, int):
        if not 2 <= classes <= len(known):
            raise ValueError(
                f"classes {classes} is not within 2 to {len(known)}, all that there are by "
                f"{' and '.join(factors)}"
            )
        return known[:classes]
    for name in classes:
        if name not in known:
            raise ValueError(
                f"class {name!r} is none of {', '.join(known[:20])}{', ...' * (len(known) > 20)}"
            )
    return list(classes)


def _draw(kinds: dict[str, np.ndarray], draws: np.ndarray, noise: Plane, hard: float) -> np.ndarray:
    """Pictures (N, H, W, 3) in [0, 1] of these kinds; ``draws`` (N, 15) are uniform in 0 to 1."""
    size = noise.shape[1]
    # The first three chose the kinds; the others, as (N, 1, 1), broadcast over the pixels.
    turn, scale, left, top, turn2, period, *shade, strength, slope_x, slope_y = (
        column[:, None, None] for column in draws.T[3:]
    )
    pixel = (2 * np.arange(size) + 1) / size - 1  # centres, -1 to 1
    x, y = pixel[None, None, :], pixel[None, :, None]
    ground = 0.5 + 0.25 * hard * ((2 * slope_x - 1) * x + (2 * slope_y - 1) * y)

    radius = 0.62 + 0.3 * hard * (scale - 0.6)
    x = (x - 0.5 * hard * (left - 0.5)) / radius
    y = (y - 0.5 * hard * (top - 0.5)) / radius
    shape = _by_kind(SHAPES, kinds["shape"], *_rotate(x, y, hard * (2 * turn - 1)))
    inside = np.clip(0.5 - shape * radius * size / 2, 0, 1)  # the edge is one pixel soft

    frequency = (1.6 + period) * radius
    u, v = _rotate(x, y, hard * (2 * turn2 - 1))
    texture = _by_kind(TEXTURES, kinds["texture"], u * frequency, v * frequency)

    colour = np.array(list(COLOURS.values()))[kinds["colour"]][:, None, None, :]
    colour = colour + 0.12 * (np.stack(shade, axis=-1) - 0.5)
    bright = (1 - 0.75 * (1 - texture))[..., None] * colour
    weight = (inside * (1 - 0.5 * hard * strength))[..., None]
    picture = ground[..., None] * (1 - weight) + bright * weight
    return np.clip(picture + 0.5 * hard * noise[..., None], 0, 1)


def _rotate(x: Plane, y: Plane, t: Plane) -> tuple[Plane, Plane]:
    """Turn by twice the arc tangent of ``t``."""
    norm = 1 + t * t
    cosine, sine = (1 - t * t) / norm, 2 * t / norm
    return cosine * x - sine * y, sine * x + cosine * y


def _by_kind(functions: dict, kinds: np.ndarray, x: Plane, y: Plane) -> Plane:
    out = np.empty_like(x)
    for kind, function in enumerate(functions.values()):
        mine = kinds == kind
        if mine.any():
            out[mine] = function(x[mine], y[mine])
    return out
