"""Images a second in training: `fit`'s loop on our ResNets, against a plain loop on torchvision's.

The plain loop is the one of PyTorch's tutorials with torchvision's reference settings: float32,
`nn.CrossEntropyLoss`, SGD with momentum 0.9 and weight decay 1e-4, ``loss.item()`` for the log at
each step. On a GPU a third candidate gives torchvision's model what ours has: bfloat16,
``channels_last`` and `torch.compile`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from time import process_time

import torch
import torchvision
from torch import nn

from benchmarks import _report
from cnnlab.data import Batches, ImageSet
from cnnlab.device import get_device
from cnnlab.models import get_model
from cnnlab.progress import progress_bar
from cnnlab.training import Recipe
from cnnlab.training.loop import Machine, train_epoch

SETTINGS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}


def image_set(count: int, size: int) -> ImageSet:
    """Random images: what is timed is the training, not the reading."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, size, size, generator=generator)
    return ImageSet(images, torch.arange(count) % 1000, range(1000), "random images")


def ours(name: str, data: ImageSet, batch_size: int, device: torch.device) -> Callable[[], object]:
    """One pass of `fit`'s own inner loop, with what `fit` chooses on this device for long runs."""
    recipe = Recipe(1, batch_size, learning_rate=0.1, weight_decay=1e-4, schedule="constant")
    machine = Machine.choose(device, data.images.shape[1:], steps=10**6)
    model = get_model(name).to(device=device, memory_format=machine.layout)
    network = torch.compile(model) if machine.compile else model
    optimizer = recipe.make_optimizer(model.parameters(), fused=device.type == "cuda")
    batches = Batches(data, batch_size, device, shuffle=True)
    scheduler = recipe.make_scheduler(optimizer, len(batches))
    bar = progress_bar(0, "", False)
    return lambda: train_epoch(
        model, network, batches, 0, optimizer, scheduler, recipe, machine, bar
    )


def plain(
    name: str, data: ImageSet, batch_size: int, device: torch.device, tuned: bool = False
) -> Callable[[], object]:
    """One pass of the plain loop over torchvision's model; ``tuned`` gives it what ours has."""
    model = torchvision.models.get_model(name, weights=None).to(device)
    layout = torch.channels_last if tuned else torch.contiguous_format
    model = model.to(memory_format=layout)
    network = torch.compile(model) if tuned else model
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), **SETTINGS)
    batches = Batches(data, batch_size, device, shuffle=True)

    def run():
        network.train()
        for images, labels in batches.epoch():
            images = images.to(memory_format=layout)
            with autocast(device, tuned):
                loss = criterion(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return run


@contextlib.contextmanager
def autocast(device: torch.device, enabled: bool) -> Iterator[None]:
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, help="steps a round (default: 2, on a GPU 20)")
    parser.add_argument("--batch", type=int, help="images a step (default: 8, on a GPU 256)")
    options = parser.parse_args()
    device = get_device()
    on_gpu = device.type == "cuda"
    steps, batch = options.steps or (20 if on_gpu else 2), options.batch or (256 if on_gpu else 8)
    data, rows = image_set(steps * batch, 224), []
    for name in ("resnet18", "resnet50"):
        candidates = {
            "cnnlab fit": ours(name, data, batch, device),
            "plain loop, torchvision": plain(name, data, batch, device),
        }
        if on_gpu:
            tuned = plain(name, data, batch, device, tuned=True)
            candidates["tuned loop, torchvision"] = tuned
        processor: dict[str, list[float]] = {label: [] for label in candidates}
        timed = {label: counted(run, processor[label]) for label, run in candidates.items()}
        wait = torch.cuda.synchronize if on_gpu else None
        seconds = _report.interleaved(timed, options.rounds, warmup=2, synchronize=wait)
        for label, wall in seconds.items():
            # The least disturbed round says what the code can do; the median what it did here.
            cpu = processor[label][-options.rounds :]
            rows.append(
                [
                    name,
                    label,
                    steps * batch / sorted(wall)[len(wall) // 2],
                    _report.time([s / steps for s in wall]),
                    _report.time([s / steps for s in cpu]),
                    _report.ratio(seconds["plain loop, torchvision"], wall),
                    _report.ratio(processor["plain loop, torchvision"][-options.rounds :], cpu),
                ]
            )
    threads = torch.get_num_threads()
    notes = [
        f"Batches of {batch} images, {steps} steps a round, {threads} thread"
        f"{'s' * (threads > 1)}; load average while it ran {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} cores. Processor time leaves out what other programs took.",
    ]
    _report.save(
        "training_gpu" if on_gpu else "training",
        title=f"Training at 224 pixels, on a {'GPU' if on_gpu else 'processor'}",
        question="How many images a second does one training loop take, against a plain loop over "
        "torchvision's model?",
        columns=[
            "network",
            "loop",
            "images/s",
            "time a step",
            "processor time a step",
            "speed, wall",
            "speed, processor",
        ],
        rows=rows,
        packages=["torch", "torchvision"],
        notes=notes,
    )


def counted(run: Callable[[], object], seconds: list[float]) -> Callable[[], None]:
    """The same, noting the processor time of each call."""

    def call() -> None:
        start = process_time()
        run()
        seconds.append(process_time() - start)

    return call


if __name__ == "__main__":
    main()
