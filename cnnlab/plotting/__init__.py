"""Pictures drawn from real tensors, each with the same in words."""

from cnnlab.plotting.convolution import (
    convolution_animation,
    convolution_step,
    convolution_strip,
)
from cnnlab.plotting.explorer import Explorer, explore_convolution
from cnnlab.plotting.grids import draw_matrix, images, matrices
from cnnlab.plotting.picture import Picture
from cnnlab.plotting.style import COLOURS, GRAY, SEQUENTIAL, SIGNED, new_figure, style

__all__ = [
    "COLOURS",
    "GRAY",
    "SEQUENTIAL",
    "SIGNED",
    "Explorer",
    "Picture",
    "convolution_animation",
    "convolution_step",
    "convolution_strip",
    "draw_matrix",
    "explore_convolution",
    "images",
    "matrices",
    "new_figure",
    "style",
]
