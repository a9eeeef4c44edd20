"""A picture and the same in words: the one way in which cnnlab shows a figure."""

import html
import io
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageOps

__all__ = ["Picture"]

PIXELS_PER_INCH = 100  # on the page
SHARPNESS = 1.5  # stored pixels for each one on the page, of a picture that stands still
MARGIN = 8  # stored pixels of white left around the drawing


@dataclass(frozen=True, repr=False)
class Picture:
    """A picture and the same in words; as the last line of a cell it shows itself.

    The words are the image's ``alt`` text in the HTML that nbconvert makes and the output's
    plain text, which nbval compares where it ignores pixels. They also stand folded below the
    picture, because JupyterLab and GitHub do not hand an output's ``alt`` text to the browser.

    Attributes
    ----------
    data : bytes
        The image file: PNG (animated if there are several frames), JPEG for a photograph.
    mime : str
        ``"image/png"`` or ``"image/jpeg"``.
    alt : str
        What the picture shows, in words.
    width : int
        Width on the page, in CSS pixels.
    """

    data: bytes
    mime: str
    alt: str
    width: int

    def __post_init__(self):
        if not self.alt.strip():
            raise ValueError("alt is empty: a picture must also say in words what it shows")

    @classmethod
    def from_figure(cls, figure: Figure, alt: str) -> "Picture":
        """A matplotlib figure and its words."""
        pixels = _trimmed([_pixels(figure, sharpness=SHARPNESS)])
        width = round(pixels[0].width / SHARPNESS)
        jpeg = _file(pixels[0], "JPEG", quality=80, optimize=True)
        if pixels[0].getcolors(maxcolors=10_000) is None:  # fewer colours would show in its sky
            return cls(jpeg, "image/jpeg", alt, width)
        png = _file(*_in_256_colours(pixels), "PNG", optimize=True)
        if len(png) > 2 * len(jpeg):
            return cls(jpeg, "image/jpeg", alt, width)
        return cls(png, "image/png", alt, width)

    @classmethod
    def from_frames(
        cls, figures: Iterable[Figure], alt: str, seconds: float = 1.0, plays: int = 3
    ) -> "Picture":
        """An animation of equally large figures, each shown for ``seconds``, the last for three.

        It rests on the last frame after ``plays`` rounds: nothing moves beside a text for ever.
        """
        frames = [_pixels(figure, sharpness=1) for figure in figures]
        if not frames:
            raise ValueError("an animation needs at least 1 figure, not 0")
        first, *others = _in_256_colours(_trimmed(frames))
        durations = [1000 * seconds] * len(others) + [3000 * seconds]
        options = {"save_all": True, "append_images": others, "loop": plays}
        png = _file(first, "PNG", optimize=True, duration=durations, **options)
        return cls(png, "image/png", alt, first.width)

    def save(self, path: str | Path) -> None:
        """Write the image file."""
        Path(path).write_bytes(self.data)

    def to_html(self) -> str:
        """An ``<img>`` element that holds the picture and its words."""
        source = f"data:{self.mime};base64,{b64encode(self.data).decode()}"
        fit = "max-width: 100%; height: auto"
        alt = html.escape(self.alt)
        return f'<img src="{source}" width="{self.width}" alt="{alt}" style="{fit}">'

    def __repr__(self) -> str:
        return self.alt

    def _ipython_display_(self, live: Mapping[str, object] | None = None) -> None:
        """Show it; ``live`` is what a browser shows instead where it can, by type: a widget."""
        from IPython.display import display

        bundle = {self.mime: b64encode(self.data).decode(), "text/plain": self.alt, **(live or {})}
        display(bundle, raw=True, metadata={self.mime: {"alt": self.alt, "width": self.width}})
        words = f"<details><summary>In words</summary>{html.escape(self.alt)}</details>"
        display({"text/html": words}, raw=True)


def _pixels(figure: Figure, sharpness: float) -> Image.Image:
    """The drawn figure, with ``sharpness`` stored pixels for each one on the page."""
    figure.set_dpi(PIXELS_PER_INCH * sharpness)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _file(image: Image.Image, format: str, **options) -> bytes:
    """The image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def _trimmed(frames: list[Image.Image]) -> list[Image.Image]:
    """The frames with the same narrow margin instead of the white border that all of them have."""
    boxes = [ImageOps.invert(frame).getbbox() or (0, 0, *frame.size) for frame in frames]
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    box = min(lefts), min(tops), max(rights), max(bottoms)
    return [ImageOps.expand(frame.crop(box), MARGIN, "white") for frame in frames]


def _in_256_colours(frames: list[Image.Image]) -> list[Image.Image]:
    """The frames with one common palette: a third of the bytes, hardly a difference to see."""
    width, height = frames[0].size
    tower = Image.new("RGB", (width, height * len(frames)))
    for index, frame in enumerate(frames):
        tower.paste(frame, (0, height * index))
    enough = width * height // 100  # stop refining the palette when 1 % of the pixels change
    tower = tower.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=enough)
    return [
        tower.crop((0, height * index, width, height * (index + 1))) for index in range(len(frames))
    ]
