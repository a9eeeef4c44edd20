"""Image data that works with no network."""

from cnnlab.data.bundled import digits, photograph
from cnnlab.data.image_set import ImageSet

__all__ = ["ImageSet", "digits", "photograph"]
