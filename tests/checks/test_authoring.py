"""What tasks are made of: numbers that are drawn, and modules made wrong."""

import numpy as np
import pytest
import torch
from torch import nn

from cnnlab.assignments.authoring import altered, draw


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return self.linear(x)


def test_an_altered_module_differs_in_what_was_altered_only():
    double = altered(Layer, lambda m, x: 2 * m.linear(x))(3)
    x = torch.ones(1, 3)
    assert torch.equal(double(x), 2 * double.linear(x))
    bare = altered(Layer, linear=lambda width: nn.Linear(width, 1, bias=False))(3)
    assert [name for name, _ in bare.named_parameters()] == ["linear.weight"]
    assert bare(x).shape == (1, 1)


@pytest.mark.parametrize("shape", [(3,), (5, 4), (30, 10), (2, 3, 24, 19)])
def test_no_two_drawn_numbers_are_alike_and_none_is_zero(shape):
    for seed in range(20):
        drawn = draw(np.random.default_rng(seed), *shape)
        assert drawn.shape == shape and drawn.dtype == torch.float32
        assert len(drawn.unique()) == drawn.numel() and (drawn != 0).all()
    few = draw(np.random.default_rng(0), 5, 4).double()
    assert torch.allclose(few, few.round(decimals=2), atol=1e-6)
