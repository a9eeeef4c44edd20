"""The experiments: what their networks are, and that they show what a lecture says."""

import math

import pytest
import torch
from torch import nn

from cnnlab.experiments import EXPERIMENTS, Bench, ConvStack, gradient_norms, measured, run
from cnnlab.experiments.outcome import Outcome

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
        with pytest.raises(ValueError, match="experiment 'magic' is none of degradation, "):
            call("magic")


def ordered(values: dict[str, float]) -> bool:
    """Plain-56 trains worse than plain-20, and ResNet-56 better than both."""
    return values["ResNet-56"] < values["plain-20"] < values["plain-56"]


def test_deeper_plain_networks_train_worse_and_residual_ones_do_not():
    assert ordered(run("degradation", seed=0, bench=CPU).values)


@pytest.mark.slow
def test_the_degradation_ordering_holds_in_nine_of_ten_seeds():
    outcomes = [run("degradation", seed, CPU).values for seed in range(10)]
    print(*outcomes, sep="\n")
    assert sum(map(ordered, outcomes)) >= 9
