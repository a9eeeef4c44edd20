"""Is a readable network as fast as torchvision's? Both with the same weights, taking turns.

``make bench-models``, or ``CNNLAB_DEVICE=cuda python -m benchmarks.models`` on a GPU.
"""

import math
import sys

import torch
import torchvision
from torch import nn

from benchmarks._report import interleaved, ratio, save, time
from cnnlab import get_device
from cnnlab.models import get_model

NAMES = [
    "alexnet",
    "vgg11_bn",
    "googlenet",
    "resnet18",
    "resnet50",
    "densenet121",
    "resnext50_32x4d",
    "squeezenet1_1",
    "mobilenet_v2",
    "shufflenet_v2_x1_0",
    "efficientnet_b0",
]


def forward(network, x, labels):
    """One batch in evaluation mode, without gradients."""
    network.eval()

    def run():
        with torch.inference_mode():
            network(x)

    return run


def training_step(network, x, labels):
    """Forward, loss, backward and one step of SGD."""
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)

    def run():
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), labels).backward()
        optimizer.step()

    return run


def median_interval(values: list[float]) -> tuple[float, float]:
    """95 % confidence interval of the median, from the order of the values alone."""
    ordered = sorted(values)
    skip = max(0, math.floor((len(ordered) - 1.96 * math.sqrt(len(ordered))) / 2))
    return ordered[skip], ordered[-1 - skip]


def compare(name: str, device: torch.device, rounds: int) -> list[list]:
    """A row for the forward pass, a row for the training step."""
    on_gpu = device.type == "cuda"
    batch, side = (64, 224) if on_gpu else (2, 96)
    heads = {"aux_logits": False} if name == "googlenet" else {}
    extra = {"init_weights": False} if name == "googlenet" else {}
    ours = get_model(name, device=device, **heads)
    theirs = torchvision.models.get_model(name, **heads, **extra).to(device)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(batch, 3, side, side, device=device)
    labels = torch.arange(batch, device=device)
    rows = []
    for what in (forward, training_step):
        seconds = interleaved(
            {"theirs": what(theirs, x, labels), "ours": what(ours, x, labels)},
            rounds=rounds,
            warmup=3,
            synchronize=torch.cuda.synchronize if on_gpu else None,
        )
        low, high = median_interval(
            [a / b for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
        )
        rows.append(
            [
                name,
                what.__name__.replace("_", " "),
                time(seconds["theirs"]),
                time(seconds["ours"]),
                ratio(seconds["ours"], seconds["theirs"]),
                f"{low:.3f} to {high:.3f}",
            ]
        )
        print(name, rows[-1][1], rows[-1][-1], file=sys.stderr, flush=True)
    return rows


def main(rounds: int = 60) -> None:
    device = get_device()
    rows = [row for name in NAMES for row in compare(name, device, rounds)]
    on_gpu = device.type == "cuda"
    save(
        "models_gpu" if on_gpu else "models",
        title=f"Networks against torchvision's, on a {'GPU' if on_gpu else 'processor'}",
        question="Does code that is written to be read cost time?",
        columns=[
            "network",
            "pass",
            "torchvision",
            "cnnlab",
            "ratio",
            "95 % interval of its median",
        ],
        rows=rows,
        packages=["torch", "torchvision"],
        notes=[
            "Float32, the same weights in both, "
            + ("64 images of 224×224." if on_gpu else "2 images of 96×96.")
            + " A ratio below 1 means that cnnlab is faster.",
        ],
    )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
