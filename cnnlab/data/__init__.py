"""Image data that works with no network, and the published sets where there is one."""

from cnnlab.data.augment import AUGMENTATIONS, augmentation, per_image
from cnnlab.data.batches import Batches
from cnnlab.data.bundled import digits, photograph
from cnnlab.data.download import cache_folder
from cnnlab.data.image_set import ImageSet
from cnnlab.data.procedural import COLOURS, SHAPES, TEXTURES, patterns
from cnnlab.data.published import image_folder, load

__all__ = [
    "AUGMENTATIONS",
    "COLOURS",
    "SHAPES",
    "TEXTURES",
    "Batches",
    "ImageSet",
    "augmentation",
    "cache_folder",
    "digits",
    "image_folder",
    "load",
    "patterns",
    "per_image",
    "photograph",
]
