"""Looking into networks: each on one whose answer is known by construction, then on a real one."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.data import photograph
from cnnlab.models import get_model
from cnnlab.models.efficientnet_lite0 import categories, preprocess
from cnnlab.seeing import (
    feature_maps,
    grad_cam,
    guided_backprop,
    invert_features,
    occlusion_map,
    saliency,
    strongest_patches,
    visualize_class,
)


def colour_network() -> nn.Sequential:
    """Its class scores are the mean red, green and blue of the image, in maps of half the size."""
    network = nn.Sequential(
        nn.AvgPool2d(2),
        nn.Conv2d(3, 3, 1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    nn.init.dirac_(network[1].weight)
    nn.init.zeros_(network[1].bias)
    return network


def two_squares() -> torch.Tensor:
    """Red at the top left, blue at the bottom right, black elsewhere; the blue one is larger."""
    image = torch.zeros(3, 16, 16)
    image[0, 2:6, 2:6] = 1
    image[2, 8:16, 8:16] = 1
    return image


def linear_network(weight: torch.Tensor) -> nn.Sequential:
    """Scores 0 and ⟨weight, image⟩."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(weight.numel(), 2, bias=False))
    network[1].weight.data = torch.stack([torch.zeros(weight.numel()), weight.flatten()])
    return network


def test_feature_maps_are_the_layers_output_before_the_activation_in_place():
    network, image = colour_network(), -two_squares()
    maps = feature_maps(network, image, "1")
    assert torch.equal(maps, F.avg_pool2d(image[None], 2)[0])
    assert maps.min() == -1  # the ReLU after it works in place


def test_grad_cam_is_the_square_of_its_colour():
    image = two_squares()
    maps = F.avg_pool2d(image[None], 2)[0]
    for target in (0, 2):
        heat = grad_cam(colour_network(), image, "2", target, enlarge=False)
        # The score is the mean of one map of 8×8: its gradient there is 1/64, and 0 on the others.
        assert torch.allclose(heat, maps[target] / 64)
    assert torch.equal(
        grad_cam(colour_network(), image, "2"), grad_cam(colour_network(), image, "2", 2)
    )


def test_grad_cam_cuts_off_what_speaks_against():
    network = colour_network()
    network.append(nn.Linear(3, 2, bias=False))
    network[-1].weight.data = torch.tensor([[1.0, 0, -1], [-1, 0, -1]])
    heat = grad_cam(network, two_squares(), "2", 0, enlarge=False)
    assert heat[1:3, 1:3].min() > 0 and heat[4:, 4:].abs().max() == 0
    assert grad_cam(network, two_squares(), "2", 1).abs().max() == 0


def test_saliency_of_a_linear_network_is_the_size_of_its_weights():
    weight = torch.randn(3, 5, 6)
    heat = saliency(linear_network(weight), torch.rand(3, 5, 6), 1)
    assert torch.allclose(heat, weight.abs().amax(0))


def test_occlusion_of_a_linear_network_is_what_the_square_held():
    weight, image = torch.randn(1, 6, 9), torch.rand(1, 6, 9)
    heat = occlusion_map(linear_network(weight), image, 1, patch=3, stride=3)
    assert heat.shape == (2, 3)
    whole = (weight * image).sum()
    for row in range(2):
        for column in range(3):
            part = (weight * image)[0, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3].sum()
            expected = whole.sigmoid() - (whole - part).sigmoid()
            assert heat[row, column] == pytest.approx(expected.item(), abs=1e-5)


def test_guided_backprop_stops_negative_paths():
    """Of |x| = ReLU(x) - (-ReLU(-x)), written with a negative weight, only the positive half."""
    network = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(18, 1)
    )
    network[0].weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    network[3].weight.data = torch.tensor([1.0] * 9 + [-1.0] * 9)[None]
    image = torch.tensor([[[-1.0, 2, -3], [4, 5, -6], [7, -8, 9]]])
    assert saliency(network, image, 0).tolist() == [[1.0] * 3] * 3
    assert torch.equal(guided_backprop(network, image, 0), (image > 0).float())


def test_guided_backprop_knows_that_a_relu6_is_flat_above_six():
    network = nn.Sequential(nn.ReLU6(), nn.Flatten(), nn.Linear(3, 1))
    nn.init.ones_(network[2].weight)
    image = torch.tensor([[[-1.0, 3, 7]]])
    assert guided_backprop(network, image, 0).tolist() == [[[0.0, 1.0, 0.0]]]


def test_the_strongest_patches_hold_what_the_filter_looks_for():
    cross = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    conv.weight.data = (2 * cross - 1)[None, None]
    images = torch.zeros(4, 1, 12, 12)
    for n, (top, left, strength) in enumerate([(4, 5, 0.5), (0, 0, 1.0), (9, 9, 0.8), (3, 2, 0.1)]):
        images[n, 0, top : top + 3, left : left + 3] = strength * cross
    found = strongest_patches(nn.Sequential(conv), images, "0", 0, count=3, size=3)
    for piece, strength in zip(found, (1.0, 0.8, 0.5), strict=True):
        assert torch.equal(piece[0], strength * cross)


def test_the_image_that_pleases_a_linear_class_is_its_weight():
    weight = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))
    made = visualize_class(
        linear_network(weight), 1, (1, 8, 8), steps=300, decay=2.0, shift=0,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.allclose(made, weight / 4, atol=0.01)  # where w = 2 · decay · x


def test_what_a_layer_keeps_comes_back_and_what_it_loses_does_not():
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    inner = nn.Sequential(nn.Identity(), *colour_network())
    kept = invert_features(inner, image, "0", steps=300, smooth=0)
    assert torch.allclose(kept, image, atol=0.02)
    lost = invert_features(inner, image, "2", steps=300, smooth=0)
    pooled = [F.avg_pool2d(x[None], 2) for x in (lost, image)]
    assert torch.allclose(*pooled, atol=0.02)
    assert (lost - image).abs().mean() > 0.2


@pytest.fixture(scope="module")
def imagenet():
    return get_model("efficientnet_lite0", weights="imagenet")


CAT, ESPRESSO = categories().index("Egyptian cat"), categories().index("espresso")
BOX = (0, 224, 20, 200)  # top, bottom, left, right of the cat in the middle 224×224 of chelsea


def centre_of_mass(heat: torch.Tensor) -> tuple[float, float]:
    heat = heat.clamp(min=0) / heat.clamp(min=0).sum()
    rows, columns = (torch.arange(side) + 0.5 for side in heat.shape)
    return (heat.sum(1) @ rows).item(), (heat.sum(0) @ columns).item()


def test_the_cat_is_seen_where_the_cat_is(imagenet):
    """The centres of mass of Grad-CAM and of occlusion lie on the animal."""
    image = preprocess(photograph("chelsea"))[0]
    heat = grad_cam(imagenet, image, "top", CAT)
    assert heat.shape == (224, 224)
    covered = occlusion_map(imagenet, image, CAT, patch=56, stride=28)
    covered = F.interpolate(covered[None, None], (224, 224), mode="bilinear")[0, 0]
    top, bottom, left, right = BOX
    for centre in (centre_of_mass(heat), centre_of_mass(covered)):
        assert top < centre[0] < bottom and left < centre[1] < right


@pytest.mark.parametrize("cat_first", [True, False])
def test_beside_a_cup_grad_cam_finds_the_cat_in_its_half(imagenet, cat_first):
    """The control: with two things in the picture, the map follows the question, not the middle."""
    cat, cup = (preprocess(photograph(name))[0] for name in ("chelsea", "coffee"))
    image = torch.cat([cat, cup] if cat_first else [cup, cat], dim=2)
    for target, first in ((CAT, cat_first), (ESPRESSO, not cat_first)):
        heat = grad_cam(imagenet, image, "top", target)
        share = heat[:, :224].sum() / heat.sum()
        assert (share > 0.75) if first else (share < 0.25), f"{share:.2f} in the left half"


def test_looking_changes_nothing():
    network = get_model(
        "efficientnet_lite0", num_classes=3, generator=torch.Generator().manual_seed(0)
    )
    network.blocks.eval()
    network.requires_grad_(False)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    image = torch.rand(3, 64, 64)
    feature_maps(network, image, "stem")
    grad_cam(network, image, "top")
    guided_backprop(network, image)
    occlusion_map(network, image, patch=32, stride=32)
    visualize_class(network, 0, (3, 64, 64), steps=2)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert network.training and not network.blocks.training
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n, x: grad_cam(n, x, "3x"), "Sequential has no layer '3x'; the nearest are 3, "),
        (lambda n, x: grad_cam(n, x, "4"), "4 gives shape (1, 3), not feature maps (N, C, H, W)"),
        (lambda n, x: grad_cam(n, x, "2", 3), "target 3 is not within 0 to 2, the network's"),
        (lambda n, x: saliency(n, x[0]), "one image (C, H, W) or (1, C, H, W) is looked at"),
        (lambda n, x: saliency(n, torch.zeros(2, 3, 9, 9)), "got (2, 3, 9, 9)"),
        (lambda n, x: occlusion_map(n, x, patch=17), "a square of 17 that moves by 16 does not"),
        (
            lambda n, x: strongest_patches(n, x[None], "2", 0),
            "1 images of 16×16 do not hold 9 pieces of 32×32",
        ),
        (
            lambda n, x: strongest_patches(n, x[None], "2", 3, count=1, size=4),
            "channel 3 is not within 0 to 2",
        ),
        (lambda n, x: guided_backprop(n[:2], x), "Sequential has no ReLU module"),
        (lambda n, x: visualize_class(n, 5, (3, 16, 16)), "target 5 is not within 0 to 2"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError) as error:
        call(colour_network(), two_squares())
    assert message in str(error.value)
