"""Every network learns: small ones overfit one batch, large ones take a step."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.models import get_model, list_models, smallest_input

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
QUICK = ["lenet5_1998", "lenet_slide", "nin_cifar", "resnet20_cifar", "densenet40_cifar",
         "squeezenet1_1", "mobilenet_v1", "shufflenet_v1"]  # fmt: skip
BATCH = 4
STEPS = 200
# Of Adam: plain networks need more, networks without batch norm less, than the others' 1e-3.
RATES = {"plain": 3e-3, "nin": 3e-4}


def build(name, device):
    generator = torch.Generator().manual_seed(0)  # the same weights on every device
    network = get_model(name, num_classes=10, device=device, generator=generator).train()
    for module in network.modules():  # what drops at random would keep one batch from fitting
        if isinstance(getattr(module, "p", None), float):
            module.p = 0.0
        if isinstance(getattr(module, "drop", None), float):
            module.drop = 0.0
    return network


def batch(network, name, device):
    side = smallest_input(network, BATCH)
    if name.startswith("plain"):
        # On one pixel a 3×3 filter is a 1×1 filter, and without shortcuts 44 such layers lose the
        # image. That is the paper's point, not a fault.
        side = 8
    shape = (BATCH, network.input_size[0], side, side)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return images.to(device), torch.arange(BATCH, device=device)


def loss_of(network, x, labels):
    outputs = network(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return sum(nn.functional.cross_entropy(logits, labels) for logits in outputs)


def is_small(name):
    """Under 1 GMAC and 150 layers."""
    network = get_model(name, device="meta").eval()
    layers = [m for m in network.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Linear)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, *network.input_size, device="meta"))
    return len(layers) < 150 and counter.get_total_flops() < 2 * 10**9


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in list_models()]
)
def test_learns(name, device):
    network = build(name, device)
    x, labels = batch(network, name, device)
    if is_small(name):
        rate = next((rate for kind, rate in RATES.items() if name.startswith(kind)), 1e-3)
        optimizer = torch.optim.Adam(network.parameters(), lr=rate)
        first = None
        for _ in range(STEPS):
            loss = loss_of(network, x, labels)
            first = first or loss.item()
            if loss.item() < first / 10:
                return
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        pytest.fail(f"loss fell from {first:.3f} to {loss.item():.3f} only in {STEPS} steps")
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    loss_of(network, x, labels).backward()
    for path, parameter in network.named_parameters():
        assert parameter.grad is not None, path
        assert torch.isfinite(parameter.grad).all(), path
    optimizer.step()
    assert any(not torch.equal(p, q) for p, q in zip(network.parameters(), before, strict=True))
