"""Transfer learning: heads, freezing, features, and ways of using a trained backbone."""

import pytest
import torch
import torchvision
from torch import nn

from cnnlab.data import digits, patterns
from cnnlab.experiments import measured
from cnnlab.models import get_model
from cnnlab.training import Recipe, evaluate, fit
from cnnlab.transfer import (
    adapt,
    as_trunk_input,
    extract_features,
    freeze,
    load_trunk,
    parameter_groups,
    replace_head,
    units,
)
from cnnlab.transfer.pretrained import (
    FOLDER,
    SIZE,
    SOURCE_SHAPES,
    TARGET_SHAPES,
    new_trunk,
    sources,
)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", "fc"),
        ("vgg11", "classifier.6"),
        ("alexnet", "classifier.6"),
        ("densenet121", "classifier"),
        ("squeezenet1_1", "classifier.1"),
        ("mobilenet_v2", "classifier.1"),
    ],
)
def test_torchvisions_networks_get_another_head(name, head):
    model = torchvision.models.get_model(name, weights=None)
    before = model.get_submodule(head)
    model = replace_head(model, 7).eval()
    after = model.get_submodule(head)
    assert type(after) is type(before) and after is not before
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize(
    "name", ["resnet50", "lenet5", "squeezenet1_1", "densenet121", "mobilenet_v1"]
)
def test_our_networks_get_another_head(name):
    model = replace_head(get_model(name), 7).eval()
    assert model(torch.zeros(1, *model.input_size)).shape == (1, 7)


def test_auxiliary_heads_are_replaced_too():
    model = replace_head(get_model("googlenet"), 7).train()
    assert {scores.shape for scores in model(torch.zeros(2, 3, 224, 224))} == {(2, 7)}


def test_a_new_head_comes_from_its_generator():
    heads = [
        replace_head(get_model("lenet5"), 7, torch.Generator().manual_seed(s)).classifier[-1].weight
        for s in (0, 0, 1)
    ]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_the_units_of_a_resnet_are_its_stem_its_blocks_and_its_head():
    names = [name for name, _ in units(torchvision.models.resnet18(weights=None))]
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert names == ["conv1", *blocks, "fc"]


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "lenet5", "googlenet"])
def test_the_units_hold_every_parameter_once(name):
    model = get_model(name)
    held = [id(p) for _, part in units(model) for p in part.parameters()]
    assert sorted(held) == sorted(id(p) for p in model.parameters())


def test_freezing_by_depth_trains_the_top_only():
    model, train = load_trunk("patterns", 10), as_trunk_input(digits("validation"))
    assert freeze(model, 2) == ["layer3.0", "fc"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, train, Recipe(epochs=1), device="cpu")
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert {name.split(".")[0] for name in changed} == {"layer3", "fc"}
    assert len(freeze(model, None)) == 5
    assert all(p.requires_grad for p in model.parameters())


def test_lower_units_learn_more_slowly():
    model = load_trunk("patterns", 10)
    groups = parameter_groups(model, 0.1, decay=0.5)
    assert [group["lr"] for group in groups] == pytest.approx([0.00625, 0.0125, 0.025, 0.05, 0.1])
    freeze(model, 1)
    (only,) = parameter_groups(model, 0.1)
    assert {id(p) for p in only["params"]} == {id(p) for p in model.fc.parameters()}
    history = fit(
        model, as_trunk_input(digits("validation")), Recipe(epochs=1), device="cpu",
        parameters=[only],
    )  # fmt: skip
    assert history["learning_rate"] == [0.1]


def test_features_and_head_make_what_the_network_makes():
    model, data = load_trunk("digits").eval(), as_trunk_input(digits("test"))
    features = extract_features(model, data, device="cpu", batch_size=100)
    assert features.tensors[0].shape == (353, 64)
    with torch.no_grad():
        assert torch.allclose(model.fc(features.tensors[0]), model(data.images), atol=1e-4)
    assert torch.equal(features.tensors[1], data.labels)
    assert isinstance(model.fc, nn.Linear)  # the network is as it was


def test_features_are_computed_once_for_these_weights_and_images(tmp_path, monkeypatch):
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path))
    model, data = load_trunk("digits"), as_trunk_input(digits("validation"))
    calls = []
    model.conv1.register_forward_hook(lambda *_: calls.append(1))
    first = extract_features(model, data, device="cpu", cache=True)
    replace_head(model, 3)  # the head does not matter
    second = extract_features(model, data, device="cpu", cache=True)
    assert len(calls) == 1 and torch.equal(first.tensors[0], second.tensors[0])
    with torch.no_grad():
        model.conv1.weight[0, 0, 0, 0] += 1
    third = extract_features(model, data, device="cpu", cache=True)
    assert len(calls) == 2 and not torch.equal(first.tensors[0], third.tensors[0])
    assert len(list((tmp_path / "features").glob("*.pt"))) == 2


# --- the trunks


@pytest.mark.parametrize("name", ["patterns", "digits"])
def test_the_shipped_trunks_know_what_they_learnt(name):
    accuracy = evaluate(load_trunk(name), sources("test")[name], device="cpu").accuracy
    assert accuracy >= 0.97
    assert len((FOLDER / f"{name}.pt").read_bytes()) <= 2_000_000


def test_the_target_shapes_are_new_to_the_trunk():
    assert not set(SOURCE_SHAPES) & set(TARGET_SHAPES)
    assert len(SOURCE_SHAPES) == 8 and len(TARGET_SHAPES) == 6


# --- ways of using a backbone


def few_shapes():
    """Five drawings of each shape that the trunk has not seen."""
    return patterns("train", 30, SIZE, classes=TARGET_SHAPES, seed=1)


def test_a_linear_probe_changes_the_head_only():
    model = adapt("linear probe", few_shapes(), device="cpu")
    trunk = load_trunk("patterns").state_dict()
    for name, value in model.state_dict().items():
        if not name.startswith("fc"):
            assert torch.equal(value, trunk[name]), name


def test_scratch_knows_nothing_of_the_trunk():
    first = adapt("scratch", few_shapes(), "patterns", device="cpu").state_dict()
    second = adapt("scratch", few_shapes(), "digits", device="cpu").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_fine_tuning_beats_scratch_where_data_is_scarce_and_similar():
    test = patterns("test", 600, SIZE, classes=TARGET_SHAPES)
    scratch, tuned = (
        evaluate(adapt(way, few_shapes(), device="cpu"), test, device="cpu").accuracy
        for way in ("scratch", "fine-tune all")
    )
    assert tuned > scratch


def test_imagenets_features_beat_scratch_on_every_seed_where_the_images_are_similar():
    """What lecture 16 says of its table, and that the seeds of the other cells overlap."""
    table = measured("transfer")
    for much in ("little", "much"):
        scratch, probe = (table[f"{much}, similar: {way}"] for way in ("scratch", "linear probe"))
        assert probe.lowest > scratch.highest
        scratch, probe = (table[f"{much}, different: {way}"] for way in ("scratch", "linear probe"))
        assert probe.lowest < scratch.highest and scratch.lowest < probe.highest


def test_fine_tuning_gains_nothing_on_the_probe_and_loses_where_much_is_different():
    table = measured("transfer")
    for cell in ("little, similar", "much, similar", "little, different"):
        gain = table[f"{cell}: fine-tuning"].mean - table[f"{cell}: linear probe"].mean
        assert abs(gain) < 0.01
    lost = "much, different"
    assert table[f"{lost}: fine-tuning"].highest < table[f"{lost}: linear probe"].lowest


def test_the_colours_come_second_on_every_seed():
    table = measured("borrowed_features")
    colours = table["mean and deviation of each colour"]
    assert table["features learned from ImageNet"].lowest > colours.highest + 0.1
    for name in ("pixels", "features of an untrained network"):
        assert colours.lowest > table[name].highest


def test_a_probe_is_too_sure_and_a_fine_tuned_backbone_forgets_on_every_seed():
    sure, kept = measured("calibration"), measured("forgetting")
    for much in ("little", "much"):
        probe = f"{much}, similar: linear probe"
        assert sure[f"{probe}, confidence"].lowest > sure[f"{probe}, accuracy"].highest
    for other, most in (("similar", 3), ("different", 1)):
        assert kept[f"much, {other}: linear probe"].lowest == 1
        assert kept[f"much, {other}: fine-tuning"].highest <= most / 18 + 1e-4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load_trunk("imagenet"), "trunk 'imagenet' is none of digits, patterns"),
        (
            lambda: adapt("hope", digits()),
            "strategy 'hope' is none of scratch, linear probe, fine-tune the top, fine-tune all",
        ),
        (lambda: freeze(new_trunk(10), 6), "6 units cannot train: the network has 5"),
        (lambda: replace_head(nn.ReLU(), 3), "ReLU has no linear or convolutional layer"),
        (lambda: replace_head(new_trunk(10), 0), "classes 0 is below 1"),
        (lambda: parameter_groups(new_trunk(10), 0.1, 0), "decay 0 is not within 0 to 1"),
        (
            lambda: extract_features(get_model("squeezenet1_1"), digits(), device="cpu"),
            "the head 1 is a Conv2d, not linear",
        ),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_nothing_to_train_is_said():
    model = new_trunk(10)
    freeze(model, 0)
    with pytest.raises(ValueError, match="all parameters are frozen"):
        parameter_groups(model, 0.1)
