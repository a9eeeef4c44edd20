"""Numbers written into their cells, and grids of images and feature maps."""

import math
from collections.abc import Collection, Mapping
from itertools import product

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from cnnlab.plotting.picture import Picture
from cnnlab.plotting.style import GRAY, INK, SIGNED, new_figure, style

__all__ = ["draw_matrix", "images", "matrices"]

MOST_CELLS = 1000  # of a matrix whose numbers are written out


def number(value: float, decimals: int | None = None) -> str:
    """A number as it stands in a cell: by default whole if it is whole, else with 2 decimals."""
    if decimals is None:
        decimals = 0 if float(value).is_integer() else 2
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")  # no −0


def written(values: torch.Tensor) -> list[list[str]]:
    """The numbers of a matrix as they stand in its cells, all with the same decimals."""
    whole = bool((values.nan_to_num() % 1 == 0).all())
    return [
        ["" if math.isnan(value) else number(value, 0 if whole else 2) for value in row]
        for row in values.tolist()
    ]


def in_words(values: torch.Tensor) -> str:
    """Rows one after the other, for a text equivalent: ``1 0 −1 / 1 0 −1 / 1 0 −1``."""
    return " / ".join(" ".join(row) for row in written(values))


def board(width: float, height: float, *contents: torch.Tensor) -> Axes:
    """Axes in a new figure on which one unit is one cell, wide enough for the contents' numbers.

    y runs down, as rows do. Raises ValueError for contents with more than 1,000 cells.
    """
    for values in contents:
        if values.numel() > MOST_CELLS:
            size = "×".join(map(str, values.shape))
            raise ValueError(
                f"{size} is too large to write numbers into its {values.numel():,} cells; "
                "plotting.images draws it as an image"
            )
    longest = max(len(text) for values in contents for row in written(values) for text in row)
    cell = 0.46 if longest <= 3 else 0.6  # inches
    figure = new_figure(width * cell, height * cell)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return axes


def draw_matrix(
    axes: Axes,
    values: torch.Tensor,
    left: float = 0,
    top: float = 0,
    title: str = "",
    gray: bool = False,
    limit: float | None = None,
) -> None:
    """Draw an (H, W) matrix as unit cells with numbers, its corner at ``(left, top)``.

    Cells are gray (an image: black is the smallest value) or signed (blue below zero, white at
    zero, red above). NaN is a cell that is still empty. ``limit`` fixes the value of the
    strongest colour, which otherwise is the largest in the matrix.
    """
    known = values[~values.isnan()]
    if gray:
        scale, colours = Normalize(float(known.min()), float(known.max())), colormaps[GRAY]
    else:
        limit = limit or float(known.abs().max()) or 1
        scale, colours = Normalize(-1.4 * limit, 1.4 * limit), colormaps[SIGNED]
    texts = written(values)
    size = {1: 15, 2: 15, 3: 13}.get(max(len(text) for row in texts for text in row), 12)
    rows, columns = values.shape
    for row, column in product(range(rows), range(columns)):
        text, x, y = texts[row][column], left + column, top + row
        face = colours(scale(float(values[row, column]))) if text else (1, 1, 1)
        ink = "white" if sum(face[:3]) < 1.4 else INK
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=face, edgecolor="#999999", lw=1))
        axes.text(x + 0.5, y + 0.53, text, ha="center", va="center", size=size, color=ink)
    axes.add_patch(Rectangle((left, top), columns, rows, fill=False, edgecolor=INK, lw=1.5))
    axes.text(left + columns / 2, top - 0.3, title, ha="center", va="bottom", size=15)


@style()
def matrices(
    parts: Mapping[str, torch.Tensor], symbols: str = "", gray: Collection[str] = ()
) -> Picture:
    """Matrices side by side with their numbers in them, and a symbol in each gap.

    Parameters
    ----------
    parts
        Title and (H, W) values of each.
    symbols
        One character a gap, e.g. ``"∗="`` for image ∗ filter = result; a blank draws none.
    gray
        Titles of the parts that are images, to be drawn from black to white.

    Raises
    ------
    ValueError
        If a part is no matrix or has more than 1,000 cells, the symbols don't fill the gaps, or
        ``gray`` names no part.
    """
    _check_titles(parts, gray)
    values = {title: plane(part) for title, part in parts.items()}
    if len(symbols) not in (0, len(values) - 1):
        raise ValueError(
            f"symbols {symbols!r} has {len(symbols)} characters, but {len(values)} matrices have "
            f"{len(values) - 1} gaps"
        )
    gap, margin, head = 1.4, 0.3, 1.1
    height = max(len(part) for part in values.values())
    width = sum(part.shape[1] for part in values.values()) + gap * (len(values) - 1)
    axes = board(width + 2 * margin, height + head + margin, *values.values())
    left = margin
    for title, symbol in zip(values, [*symbols.ljust(len(values))], strict=True):
        part = values[title]
        top = head + (height - len(part)) / 2
        draw_matrix(axes, part, left, top, title, gray=title in gray)
        left += part.shape[1]
        axes.text(left + gap / 2, head + height / 2, symbol, ha="center", va="center", size=26)
        left += gap
    words = [f"{title}: {in_words(part)}" for title, part in values.items()]
    return Picture.from_figure(axes.figure, "Matrices, row by row. " + "; ".join(words) + ".")


@style()
def images(
    parts: Mapping[str, torch.Tensor],
    alt: str,
    columns: int | None = None,
    signed: Collection[str] = (),
    width: float = 10,
) -> Picture:
    """Images and feature maps in a grid, each under its title.

    Parameters
    ----------
    parts
        Title and values of each: (H, W), (1, H, W) or, in colour, (3, H, W) in [0, 1].
    alt
        What is to be seen, in words.
    columns
        Images a row. Default: all in one row.
    signed
        Titles of the maps with values around zero: blue below, white at zero, red above, on one
        scale that ends where 0.5 % of the values lie beyond it, lest a few extremes pale the rest.
        The others go from black (0, or the smallest value) to white (1, or the largest).
    width
        Of the whole, in inches.

    Raises
    ------
    ValueError
        If a part is neither a matrix nor a colour image, ``signed`` names no part, or ``alt`` is
        empty.
    """
    _check_titles(parts, signed)
    columns = columns or len(parts)
    rows = math.ceil(len(parts) / columns)
    planes = {title: torch.as_tensor(part).detach().cpu() for title, part in parts.items()}
    aspect = max(part.shape[-2] / part.shape[-1] for part in planes.values())
    figure = new_figure(width, rows * (width / columns * aspect + 0.45))
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    strengths = torch.cat([planes[title].abs().flatten() for title in signed] or [torch.ones(1)])
    limit = float(strengths.quantile(0.995)) or float(strengths.max()) or 1
    for axes, (title, part) in zip(grid, planes.items(), strict=False):
        axes.set_title(title)
        if part.ndim == 3 and len(part) == 3:
            axes.imshow(part.permute(1, 2, 0).numpy())
        elif title in signed:
            shown = axes.imshow(plane(part).numpy(), cmap=SIGNED, vmin=-limit, vmax=limit)
        else:
            low, high = min(0, float(part.min())), max(1, float(part.max()))
            axes.imshow(plane(part).numpy(), cmap=GRAY, vmin=low, vmax=high)
    for axes in grid:
        axes.axis("off")
    if signed:
        ends = "both" if strengths.max() > limit else "neither"
        figure.colorbar(shown, ax=list(grid), shrink=0.8, pad=0.01, extend=ends)
    return Picture.from_figure(figure, alt)


def _check_titles(parts: Mapping[str, torch.Tensor], chosen: Collection[str]) -> None:
    if not parts:
        raise ValueError("there is nothing to draw: parts is empty")
    for title in chosen:
        if title not in parts:
            raise ValueError(f"no part is called {title!r}; there are {', '.join(parts)}")


def plane(values: torch.Tensor) -> torch.Tensor:
    """The values as a float matrix (H, W) on the CPU; (1, H, W) and (1, 1, H, W) are taken too."""
    values = torch.as_tensor(values)
    if values.ndim < 2 or math.prod(values.shape[:-2]) != 1:
        raise ValueError(f"expected one (H, W) matrix, not the shape {tuple(values.shape)}")
    return values.detach().reshape(values.shape[-2:]).double().cpu()
