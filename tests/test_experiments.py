"""The experiments: what their networks are, and that they show what a lecture says."""

import math

import pytest
import torch
from torch import nn

from cnnlab.data import digits, mnist
from cnnlab.experiments import (
    EXPERIMENTS,
    Bench,
    ConvStack,
    expect,
    gradient_norms,
    measured,
    run,
)
from cnnlab.experiments.__main__ import PAGE
from cnnlab.experiments.catalogue import pruned, rounded
from cnnlab.experiments.looking import FAINT, marked
from cnnlab.experiments.networks import scattered_digits, small_resnet, without_each_block
from cnnlab.experiments.outcome import Outcome, markdown
from cnnlab.models import get_model
from cnnlab.training import Recipe

CPU = Bench(torch.device("cpu"), 1)


def test_a_stack_has_the_depth_and_width_that_are_asked():
    for depth in (1, 2, 3, 8):
        model = ConvStack(depth, 6, in_channels=3, classes=4, batch_norm=True)
        convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
        assert len(convolutions) == depth
        assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 4)
    assert sum(p.numel() for p in ConvStack(2, 6).parameters()) == 60 + 330 + 250


def test_a_second_head_speaks_while_training_only():
    model = ConvStack(4, aux=True)
    scores, extra = model(torch.zeros(2, 1, 8, 8))
    assert scores.shape == extra.shape == (2, 10)
    assert model.eval()(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_gradient_norms_are_those_of_autograd():
    model, images, labels = ConvStack(3), torch.rand(4, 1, 8, 8), torch.tensor([1, 2, 3, 4])
    norms = gradient_norms(model, images, labels)
    nn.functional.cross_entropy(model(images), labels).backward()
    assert norms == pytest.approx([layer[0].weight.grad.norm().item() for layer in model.layers])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_was_measured_on_at_least_three_seeds(name):
    table = measured(name)
    assert all(value.seeds >= 3 and math.isfinite(value.mean) for value in table.values())


@pytest.mark.parametrize("name", ["vanishing", "batch_norm"])
def test_a_run_is_shown_beside_the_other_seeds(name):
    outcome = run(name, seed=0, bench=CPU)
    assert outcome.values.keys() == measured(name).keys()
    text = repr(outcome)
    assert text.startswith(EXPERIMENTS[name].question)
    assert all(variant in text for variant in outcome.values)
    picture = outcome.plot()
    assert picture.alt.startswith(EXPERIMENTS[name].question) and len(picture.data) > 5000


def test_equal_seeds_give_equal_values():
    first, second, other = (run("vanishing", seed, CPU).values for seed in (0, 0, 1))
    assert first == second != other


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_outcome_can_be_drawn(name):
    values = {variant: value.mean for variant, value in measured(name).items()}
    outcome = Outcome(name, values, 1.0, large=False)
    assert "± " in repr(outcome) and outcome.plot().mime == "image/png"


def test_gradients_vanish_in_a_sigmoid_network():
    table = measured("vanishing")
    assert table["sigmoid, 16 layers"].mean < 0.01 < table["ReLU, 16 layers"].mean


def test_an_unknown_experiment_is_refused():
    for call in (run, measured):
        with pytest.raises(ValueError, match="experiment 'magic' is none of softmax_first, "):
            call("magic")


def test_the_degradation_is_there_on_every_seed_and_the_shortcut_ends_it():
    """What lecture 9 says of the table: the seeds do not overlap."""
    table = measured("degradation")
    for name in ("plain-20", "ResNet-20", "ResNet-56"):
        assert table[name].highest < 0.01
    assert table["plain-56"].lowest > 0.4


def test_the_surgery_leaves_a_residual_network_alive_on_every_seed():
    table = measured("surgery")
    for name in ("plain-20", "ResNet-20"):
        assert table[f"{name}, whole"].lowest > 0.95
    assert table["plain-20, without a block: mean"].highest < 0.15
    assert table["ResNet-20, without a block: mean"].lowest > 0.8
    assert table["ResNet-20, without a block: worst"].lowest < 0.5


def test_a_softmax_too_many_costs_two_thirds_of_the_accuracy_at_first():
    table = measured("softmax_first")
    for epochs in ("1 epoch", "3 epochs"):
        right, wrong = table[f"{epochs}, scores"], table[f"{epochs}, probabilities"]
        assert wrong.highest + 0.1 < right.lowest


def test_two_epochs_suffice_to_see_it():
    """A short run of the same networks: the table is of this code."""
    train, errors = digits("train"), {}
    for shortcut in ("none", "A"):
        torch.manual_seed(0)
        model = small_resnet(56, shortcut=shortcut)
        CPU.train(model, train, Recipe(2, 64, learning_rate=0.05, weight_decay=1e-4))
        errors[shortcut] = 1 - CPU.accuracy(model, train)
    assert errors["A"] + 0.2 < errors["none"]


def test_a_mark_says_its_class_and_leaves_the_digit_alone():
    images = torch.rand(10, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    images[:, :, :4] = images[:, :, 24:] = 0
    shown = marked(images, torch.arange(10))
    assert torch.equal(shown[:, :, 4:24], FAINT * images[:, :, 4:24])
    marks = [(image == 1).flatten() for image in shown]
    assert [mark.sum().item() for mark in marks] == [9] * 10
    assert torch.stack(marks).sum(0).max() == 1  # no two in one place


def test_the_shortcut_is_taken_on_every_seed_and_the_control_does_not_need_it():
    table = measured("shortcut")
    telling, idle = (f"trained with {marks} marks" for marks in ("telling", "random"))
    assert table[f"{telling}, right mark"].lowest > table[f"{idle}, right mark"].highest
    assert table[f"{telling}, wrong mark"].highest + 0.3 < table[f"{idle}, wrong mark"].lowest


def test_rounding_and_pruning_do_what_they_say():
    weights = torch.linspace(-1, 0.7, 101)
    assert len(rounded(weights, 3).unique()) <= 7
    assert (rounded(weights, 8) - weights).abs().max() <= 0.5 / 127 + 1e-6
    kept = pruned(weights, 0.8) != 0
    assert kept.sum() == 20 and weights[kept].abs().min() >= weights[~kept].abs().max()


def test_three_bits_are_enough_and_two_are_not_on_every_seed():
    table = measured("compression")
    assert table["3 bits"].lowest > table["32 bits"].lowest - 0.02
    assert table["2 bits"].highest + 0.1 < table["32 bits"].lowest
    assert table["95% set to 0"].highest + 0.05 < table["50% set to 0"].lowest


def test_the_judge_flatters_the_winner_more_than_the_rest():
    table = measured("search")
    for name in ("random", "evolution"):
        judge, new = (
            {who: table[f"{name}, {who}, {where}"].mean for who in ("all 12", "the best")}
            for where in ("by the judge", "on new images")
        )
        assert judge["the best"] - new["the best"] > 0.005 + judge["all 12"] - new["all 12"]


def test_guided_backprop_does_not_care_what_the_head_knows():
    table = measured("sanity")
    assert table["guided backprop, a random head"].lowest > 0.95
    assert table["Grad-CAM, a random head"].highest < 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["degradation", "surgery", "softmax_first", "shortcut", "borrowed_features", "transfer"]
)
def test_the_table_is_what_a_run_gives(name):
    """Seed 0 again, near its row: machines round differently, and seeds differ as widely."""
    values, table = run(name, 0, CPU).values, measured(name)
    for variant, row in table.items():
        slack = 0.05 + row.highest - row.lowest
        assert row.lowest - slack <= values[variant] <= row.highest + slack, variant


def test_a_small_resnet_is_the_papers_network():
    for shortcut, name in (("none", "plain20_cifar"), ("A", "resnet20_cifar")):
        ours, papers = small_resnet(20, 16, shortcut=shortcut), get_model(name, in_channels=1)
        papers.load_state_dict(
            dict(zip(papers.state_dict(), ours.state_dict().values(), strict=True))
        )
        x = torch.rand(2, 1, 8, 8)
        torch.testing.assert_close(ours(x), papers(x))


def test_a_block_is_cut_out_and_put_back():
    network = small_resnet(20)
    blocks = [*network]
    cut = [
        sum(isinstance(layer, nn.Identity) for layer in one) for one in without_each_block(network)
    ]
    assert cut == [1] * 7
    assert [*network] == blocks


def test_a_scattered_digit_lies_at_its_corner():
    images, labels, corners = scattered_digits("test", 20)
    assert images.shape == (20, 1, 24, 24) and len({*map(tuple, corners.tolist())}) > 10
    small = nn.functional.avg_pool2d(mnist("test").images[:20], 2)
    for image, digit, (y, x) in zip(images, small, corners.tolist(), strict=True):
        assert (image[:, y : y + 14, x : x + 14] >= digit).all()
        ground = image.clone()
        ground[:, y : y + 14, x : x + 14] = 0
        assert ground.max() <= 0.4
    assert labels.tolist() == mnist("test").labels[:20].tolist()
    assert scattered_digits("test", 3, centred=True)[2].tolist() == [[5, 5]] * 3


def test_a_table_shows_every_row():
    table = measured("degradation")
    text = repr(table)
    assert text.startswith("training error, mean ± standard deviation of ")
    assert len(text.splitlines()) == 1 + len(table)
    assert all(any(line.startswith(variant) for line in text.splitlines()) for variant in table)
    with pytest.raises(KeyError, match="degradation has no 'plain-1000', only plain-20"):
        table["plain-1000"]


def test_the_page_is_what_the_catalogue_and_the_table_give():
    assert PAGE.read_text(encoding="utf-8") == markdown(), (
        "run: python -m cnnlab.experiments --page"
    )


def test_every_experiment_says_its_setting_and_its_control():
    for name, experiment in EXPERIMENTS.items():
        assert len(experiment.setting) > 40 and len(experiment.control) > 40, name


def test_within_the_band_nothing_is_said(capsys):
    for value in (1.0, 1.5, 2.0):
        expect("loss", value, 1, 2)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("value", [0.99, 2.01, math.nan, math.inf])
def test_outside_of_the_band_a_sentence_says_so(value, capsys):
    expect("test accuracy", value, 1, 2)
    said = capsys.readouterr().out
    assert said.startswith(
        f"Here the test accuracy is {value:.3g}. The text was written for 1 to 2"
    )


def test_a_band_that_is_none_is_refused():
    with pytest.raises(ValueError, match="the band of loss goes from 2 up to 1"):
        expect("loss", 1, 2, 1)
