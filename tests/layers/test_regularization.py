import pytest
import torch
from torch.autograd import gradcheck

from cnnlab.layers import Dropout, DropPath, StochasticDepth, dropout, stochastic_depth


def test_dropout_keeps_the_expectation():
    x = torch.ones(200, 200)
    out = dropout(x, 0.3, generator=torch.Generator().manual_seed(0))
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)


def test_a_generator_repeats_the_draw():
    x = torch.ones(50)
    draws = [dropout(x, 0.5, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize(("mode", "draws"), [("batch", 1), ("row", 64)])
def test_stochastic_depth_draws_once_for_the_batch_or_for_each_row(mode, draws):
    generator = torch.Generator().manual_seed(0)
    out = stochastic_depth(torch.ones(64, 2, 3, 3), 0.5, mode, generator)
    rows = out.flatten(1)
    assert (rows == rows[:, :1]).all()
    assert len(rows[:, 0].unique()) == min(draws, 2)
    kept = [stochastic_depth(torch.ones(64, 1), 0.25, "batch", generator)[0] for _ in range(400)]
    assert torch.stack(kept).mean().item() == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("layer", [Dropout(0.9), StochasticDepth(0.9), StochasticDepth(0.9, "row")])
def test_the_full_network_is_evaluated(layer):
    x = torch.randn(4, 3, 2, 2)
    assert layer.eval()(x) is x
    assert not torch.equal(layer.train()(torch.ones(400, 1)), torch.ones(400, 1))


def test_certain_loss_is_zero_and_not_nan():
    assert torch.equal(dropout(torch.ones(5), 1.0), torch.zeros(5))


class TestDropPath:
    paths = (torch.full((1000, 1), 1.0), torch.full((1000, 1), 10.0), torch.full((1000, 1), 100.0))

    def test_evaluation_is_the_mean(self):
        out = DropPath().eval()(list(self.paths))
        assert torch.equal(out, torch.full((1000, 1), 37.0))

    def test_training_takes_the_mean_of_the_survivors(self):
        torch.manual_seed(0)
        out = DropPath(0.5)(list(self.paths)).flatten()
        assert out.unique().tolist() == pytest.approx([1, 5.5, 10, 37, 50.5, 55, 100])

    def test_at_least_one_survives(self):
        torch.manual_seed(0)
        out = DropPath(1.0)(list(self.paths)).flatten()
        assert set(out.tolist()) == {1.0, 10.0, 100.0}

    def test_a_column_is_the_only_one(self):
        column = torch.arange(1000) % 3
        out = DropPath(0.5)(list(self.paths), column).flatten()
        assert torch.equal(out, 10.0**column)


@pytest.mark.parametrize("kind", [Dropout, StochasticDepth, DropPath])
def test_a_probability_lies_between_0_and_1(kind):
    with pytest.raises(ValueError, match=r"1\.5"):
        kind(1.5)


def test_mode_is_checked():
    with pytest.raises(ValueError, match="column"):
        stochastic_depth(torch.ones(2), 0.5, "column")


@pytest.mark.parametrize("layer", [Dropout(0.5), StochasticDepth(0.5, "row")])
def test_gradients(layer):
    def repeatable(x):
        torch.manual_seed(3)
        return layer(x)

    assert gradcheck(repeatable, (torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True),))


def test_gradients_of_a_join():
    def repeatable(*paths):
        torch.manual_seed(3)
        return DropPath(0.5)(list(paths))

    paths = [torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert gradcheck(repeatable, paths)
