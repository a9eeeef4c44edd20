"""The drawing of a network holds what the network does, and nothing twice."""

import io
import re

import pytest
import torch
from PIL import Image
from torch import nn

from cnnlab import plotting, summary
from cnnlab.models import get_model
from cnnlab.plotting.architecture import _Drawing
from cnnlab.plotting.network_graph import graph, sections


def nodes_of(model, size):
    return graph(model, summary(model, size))


def named(name):
    model = get_model(name, device="meta").eval()
    return model, model.input_size


class Branches(nn.Module):
    """Two paths and the input, added and concatenated."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        left = torch.relu(self.left(x))
        return torch.cat([left + x, self.right(left)], 1)


def test_a_chain_is_drawn_layer_by_layer_with_its_norms_and_activations():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * 7 * 7, 10),
    )  # fmt: skip
    nodes = nodes_of(model, (3, 32, 32))
    assert [(node.what, node.channels, node.size) for node in nodes] == [
        ("input", "3", "32×32"),
        ("5×5 /2", "8", "14×14"),
        ("max 2×2 /2", "8", "7×7"),
        ("linear", "10", ""),
    ]
    assert nodes[1].after == ["BatchNorm2d", "ReLU"]
    assert [node.sources for node in nodes] == [[], [0], [1], [2]]


def test_a_norm_of_many_operations_is_one_strip():
    model, size = named("alexnet_two_gpu")
    nodes = nodes_of(model, size)
    assert len(nodes) == 12
    assert [n.after for n in nodes[1:4]] == [
        ["ReLU", "LocalResponseNorm"],
        [],
        ["ReLU", "LocalResponseNorm"],
    ]


def test_branches_join_where_the_forward_pass_joins_them():
    nodes = nodes_of(Branches(), (4, 8, 8))
    assert [node.what for node in nodes] == ["input", "1×1", "add", "3×3", "concat"]
    assert [node.sources for node in nodes] == [[], [0], [1, 0], [1], [2, 3]]
    assert sections(nodes) == [(1, 4)]


def test_an_activation_that_two_layers_read_belongs_to_the_layer_before():
    nodes = nodes_of(Branches(), (4, 8, 8))
    assert nodes[1].after == ["relu"]


@pytest.mark.parametrize(
    "name, drawn",
    [("alexnet", 12), ("vgg16", 22), ("resnet18", None), ("resnet50", None), ("googlenet", None)],
)
def test_every_layer_with_weights_is_drawn_or_stands_for_it(name, drawn):
    model, size = named(name)
    costs = summary(model, size)
    nodes = graph(model, costs)
    layers = sum(row.kind in ("conv", "linear") for row in costs.rows)
    assert sum(node.repeats for node in nodes if node.kind in ("conv", "linear")) == layers
    assert drawn in (None, len(nodes))


def test_equal_blocks_stand_for_their_number():
    blocks = {n.block: n.repeats for n in nodes_of(*named("resnet50")) if n.repeats > 1}
    assert blocks == {"layer1.1": 2, "layer2.1": 3, "layer3.1": 5, "layer4.1": 2}
    dense = {n.repeats for n in nodes_of(*named("densenet121")) if n.kind == "concat"}
    assert dense == {6, 12, 24, 16}


@pytest.mark.parametrize("name", ["lenet5_1998", "vgg19", "resnet50", "googlenet", "se_resnet50"])
def test_no_two_boxes_stand_in_one_place_and_no_row_is_too_long(name):
    drawing = _Drawing(nodes_of(*named(name)))
    cells = [(place.row, place.column, place.lane) for place in drawing.places]
    assert len(set(cells)) == len(cells)
    assert drawing.width < 13
    for row, (top, bottom) in enumerate(drawing.extents):
        for place in drawing.rows[row]:
            assert top < place.y - place.height / 2 < place.y + place.height / 2 < bottom


def test_an_auxiliary_head_gets_columns_of_its_own():
    drawing = _Drawing(nodes_of(get_model("googlenet", device="meta"), (3, 224, 224)))
    cells = [(place.row, place.column, place.lane) for place in drawing.places]
    assert len(set(cells)) == len(cells)
    ends = [place for node, place in zip(drawing.nodes, drawing.places, strict=True)
            if node.kind == "linear" and node.channels == "1000"]  # fmt: skip
    assert len(ends) == 3
    for end in ends[:2]:
        beside = [p for p in drawing.rows[end.row] if p.column == end.column]
        assert beside == [end]


def test_parallel_paths_have_lanes_of_their_own():
    drawing = _Drawing(nodes_of(*named("googlenet")))
    first, last = drawing.sections[0]
    entries = [n for n in range(first, last) if drawing.nodes[n].sources == [first - 1]]
    assert [drawing.places[n].lane for n in entries] == [-1.5, -0.5, 0.5, 1.5]
    assert drawing.places[last].lane == 0


def test_the_words_say_what_is_drawn():
    picture = plotting.architecture(*named("alexnet"), title="AlexNet of torchvision")
    assert picture.alt.startswith(
        "Architecture of AlexNet of torchvision, input 3×224×224, drawn from the model: "
        "5 convolutions, 3 linear layers, 3 pooling layers. In order: 11×11 /4 to 64, now 55×55; "
    )
    assert picture.alt.endswith("; linear to 1000.")
    image = Image.open(io.BytesIO(picture.data))
    assert image.width > 1000
    residual = plotting.architecture(get_model("resnet18", device="meta").layer1, (64, 56, 56))
    assert "(3×3 to 64, 3×3 to 64 beside the shortcut, joined by add)" in residual.alt


def test_a_network_that_does_not_take_the_input_is_refused():
    with pytest.raises(ValueError, match="in_channels|channels"):
        plotting.architecture(nn.Conv2d(3, 8, 3), (4, 8, 8))


def test_cost_bars_say_which_layer_has_most():
    costs = summary(*named("alexnet"))
    words = plotting.cost_bars(costs).alt
    largest = max(costs.rows, key=lambda row: row.params)
    share = round(100 * largest.params / costs.total_params)
    assert f"parameters, thousand: most in {largest.name}, " in words
    assert re.search(rf"which is {share} % of {costs.total_params / 1e3:,.0f}", words)


def test_cost_bars_refuse_what_nobody_can_read():
    with pytest.raises(ValueError, match=r"\d+ rows with costs, not 1 to 60"):
        plotting.cost_bars(summary(*named("densenet121")))
