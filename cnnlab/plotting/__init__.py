"""Pictures drawn from real tensors, each with the same in words."""

from cnnlab.plotting.architecture import architecture
from cnnlab.plotting.convolution import (
    convolution_animation,
    convolution_step,
    convolution_strip,
)
from cnnlab.plotting.cost_bars import cost_bars
from cnnlab.plotting.explorer import Explorer, explore_convolution
from cnnlab.plotting.grids import draw_matrix, images, matrices
from cnnlab.plotting.labels import label_points
from cnnlab.plotting.picture import Picture
from cnnlab.plotting.roofline import roofline
from cnnlab.plotting.series import bars, curves
from cnnlab.plotting.style import COLOURS, GRAY, SEQUENTIAL, SIGNED, new_figure, style

__all__ = [
    "COLOURS",
    "GRAY",
    "SEQUENTIAL",
    "SIGNED",
    "Explorer",
    "Picture",
    "architecture",
    "bars",
    "convolution_animation",
    "convolution_step",
    "convolution_strip",
    "cost_bars",
    "curves",
    "draw_matrix",
    "explore_convolution",
    "images",
    "label_points",
    "matrices",
    "new_figure",
    "roofline",
    "style",
]
