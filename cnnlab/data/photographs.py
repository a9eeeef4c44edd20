"""The photographs that scikit-image and scikit-learn ship."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from cnnlab.data.packages import shipped_file

__all__ = ["Photograph", "photograph", "photographs"]


@dataclass(frozen=True)
class Photograph:
    """One photograph: what it shows and whose it is; ``.image`` reads it.

    Attributes
    ----------
    shows : str
        What is to be seen, for an alt text.
    file : str
        Its name in scikit-image's or scikit-learn's folder.
    size : (int, int)
        Height and width in pixels.
    colour : bool
        Whether the file has colours.
    licence : str
        Licence and author.
    """

    shows: str
    file: str
    size: tuple[int, int]
    colour: bool
    licence: str

    @property
    def path(self) -> Path:
        """Where the file lies."""
        if self.file in ("china.jpg", "flower.jpg"):
            return shipped_file("sklearn", f"datasets/images/{self.file}", "scikit-learn")
        return shipped_file("skimage", f"data/{self.file}", "scikit-image")

    @property
    def image(self) -> torch.Tensor:
        """(3, H, W), float32 in [0, 1]; three equal channels where the file is grey."""
        import numpy as np
        from PIL import Image

        with Image.open(self.path) as file:
            pixels = np.array(file.convert("RGB"))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div_(255)


_ALL = {
    "astronaut": Photograph(
        "an astronaut in an orange suit before a flag and a model of the Space Shuttle",
        "astronaut.png", (512, 512), True, "public domain, NASA",
    ),
    "brick": Photograph(
        "a brick wall", "brick.png", (512, 512), False, "CC0, CC0Textures"
    ),
    "camera": Photograph(
        "a man behind a camera on a tripod, in a field",
        "camera.png", (512, 512), False, "CC0, Lav Varshney",
    ),
    "chelsea": Photograph(
        "the face of a tabby cat", "chelsea.png", (300, 451), True, "CC0, Stéfan van der Walt"
    ),
    "china": Photograph(
        "a Chinese temple", "china.jpg", (427, 640), True, "CC BY 2.0, danielbuechele (Flickr)"
    ),
    "coffee": Photograph(
        "a cup of espresso on a saucer", "coffee.png", (400, 600), True, "CC0, Rachel Michetti"
    ),
    "coins": Photograph(
        "24 Greek coins from Pompeii in four rows",
        "coins.png", (303, 384), False, "no known restrictions, Brooklyn Museum",
    ),
    "flower": Photograph(
        "a dahlia", "flower.jpg", (427, 640), True, "CC BY 2.0, vultilion (Flickr)"
    ),
    "grass": Photograph("grass from above", "grass.png", (512, 512), False, "CC0"),
    "gravel": Photograph("gravel", "gravel.png", (512, 512), False, "CC0, CC0Textures"),
    "hubble": Photograph(
        "galaxies in the Hubble Extreme Deep Field",
        "hubble_deep_field.jpg", (872, 1000), True, "public domain, NASA and ESA",
    ),
    "moon": Photograph(
        "craters of the moon", "moon.png", (512, 512), False, "not stated by scikit-image"
    ),
    "motorcycle": Photograph(
        "a red motorcycle in a garage",
        "motorcycle_left.png", (500, 741), True, "Middlebury stereo benchmark 2014, Scharstein",
    ),
    "page": Photograph(
        "a page of print", "page.png", (191, 384), False, "not stated by scikit-image"
    ),
    "retina": Photograph(
        "the back of a human eye with its vessels",
        "retina.jpg", (1411, 1411), True, "CC0, Mikael Häggström",
    ),
    "rocket": Photograph(
        "a rocket on its pad between masts at dusk",
        "rocket.jpg", (427, 640), True, "public domain, SpaceX",
    ),
    "text": Photograph(
        "handwritten formulas on paper", "text.png", (172, 448), False, "public domain, Wikipedia"
    ),
    "tissue": Photograph(
        "stained glands of the colon under the microscope",
        "ihc.png", (512, 512), True, "no known restrictions, CMMI",
    ),
}  # fmt: skip


def photographs() -> dict[str, Photograph]:
    """All photographs, by name: what each shows, its size, its licence, and the image.

    >>> photographs()["chelsea"].shows
    'the face of a tabby cat'
    """
    return dict(_ALL)


def photograph(name: str, height: int | None = None, *, gray: bool = False) -> torch.Tensor:
    """One of `photographs` as a tensor: ``"chelsea"`` (a cat), ``"coffee"``, ``"china"``, ...

    Parameters
    ----------
    name
        Which one.
    height
        Resample to this height (bilinear, antialiased, aspect kept). Default: its own.
    gray
        One channel instead of three: the luma 0.299 R + 0.587 G + 0.114 B of ITU-R BT.601.

    Returns
    -------
    torch.Tensor
        Shape (3, H, W), or (1, H, W) if gray; float32 in [0, 1].

    Raises
    ------
    ValueError
        If there is no such photograph or the height is below 1.
    ModuleNotFoundError
        If scikit-image, which ships most of them, is not installed.
    """
    if name not in _ALL:
        raise ValueError(f"photograph {name!r} is none of {', '.join(_ALL)}")
    if height is not None and height < 1:
        raise ValueError(f"height {height} is below 1 pixel")
    image = _ALL[name].image
    if gray:
        image = torch.tensordot(torch.tensor([[0.299, 0.587, 0.114]]), image, dims=1)
    if height is not None:
        size = (height, round(height * image.shape[2] / image.shape[1]))
        image = F.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]
    return image.clamp_(0, 1).contiguous()  # weights that sum to 1 may still round to 1.0000002
