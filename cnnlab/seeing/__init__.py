"""What a network looks at: its maps, and which pixels its answer comes from.

>>> from cnnlab.seeing import grad_cam
>>> heat = grad_cam(network, image, "top", target=285)  # doctest: +SKIP

============================  ==================================================================
function                      question
============================  ==================================================================
`feature_maps`                What does a layer make of the image?
`strongest_patches`           To which images does a channel respond most?
`occlusion_map`               Where may nothing be covered without losing the answer?
`saliency`                    Which pixels would change the score most?
`guided_backprop`             The same along positive paths only: which strokes?
`grad_cam`                    Which region speaks for a class?
`visualize_class`             Which image would please a class most?
`invert_features`             What of an image is left in a layer?
============================  ==================================================================

All take the network's own input, that is the image after its preprocessing, (C, H, W) or
(1, C, H, W), evaluate the network in evaluation mode and leave it as it was.
"""

from cnnlab.seeing.ascent import invert_features, visualize_class
from cnnlab.seeing.gradients import grad_cam, guided_backprop, saliency
from cnnlab.seeing.responses import feature_maps, occlusion_map, strongest_patches

__all__ = [
    "feature_maps",
    "grad_cam",
    "guided_backprop",
    "invert_features",
    "occlusion_map",
    "saliency",
    "strongest_patches",
    "visualize_class",
]
