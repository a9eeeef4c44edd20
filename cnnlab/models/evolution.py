"""A small architecture search that runs on a CPU in a minute: regularized evolution of cells.

Real, Aggarwal, Huang and Le, "Regularized Evolution for Image Classifier Architecture Search",
AAAI 2019. https://arxiv.org/abs/1802.01548

The search space is NASNet's with fewer blocks. A population lives in a queue: the best of a small
sample gets a child with one mutation, and the *oldest* dies, not the worst, so that a lucky
measurement doesn't live forever.

>>> history = evolve(digits_accuracy, population=8, cycles=16)  # doctest: +SKIP
>>> max(history, key=lambda candidate: candidate.fitness).cells  # doctest: +SKIP
"""

import random
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from cnnlab.models._registry import get_model
from cnnlab.models.searched_cell import OPERATIONS, Block, Cell, Cells

__all__ = ["Candidate", "digits_accuracy", "evolve", "mutate", "random_cells"]


class Candidate(NamedTuple):
    """Cells, how good they were, and the place in the history of whom they descend from."""

    cells: Cells
    fitness: float
    parent: int | None


def evolve(
    fitness: Callable[[Cells], float],
    *,
    population: int = 8,
    cycles: int = 16,
    sample: int = 3,
    blocks: int = 2,
    seed: int = 0,
) -> list[Candidate]:
    """Search cells of high fitness; ``cycles=0`` with a large population is random search.

    Parameters
    ----------
    fitness : callable
        What to maximize, for example `digits_accuracy`. Called ``population + cycles`` times.
    population : int
        Candidates alive at a time; the first ones are random.
    cycles : int
        Children.
    sample : int
        How many of the living compete to be the parent of a child.
    blocks : int
        In each cell.

    Returns
    -------
    list of Candidate
        All that ever lived, in order.
    """
    if not 1 <= sample <= population:
        raise ValueError(f"sample must lie between 1 and population={population}, got {sample}")
    rng = random.Random(seed)
    history: list[Candidate] = []
    alive: deque[int] = deque()
    for step in range(population + cycles):
        if step < population:
            parent, cells = None, random_cells(blocks, rng)
        else:
            parent = max(rng.sample(alive, sample), key=lambda index: history[index].fitness)
            cells = mutate(history[parent].cells, rng)
            alive.popleft()
        history.append(Candidate(cells, fitness(cells), parent))
        alive.append(step)
    return history


def random_cells(blocks: int, rng: random.Random) -> Cells:
    """A normal and a reduction cell of random operations on random earlier results."""

    def block(index: int) -> Block:
        results = range(2 + index)
        return Block(
            rng.choice(OPERATIONS), rng.choice(results), rng.choice(OPERATIONS), rng.choice(results)
        )

    return Cells(*(_close([block(i) for i in range(blocks)]) for _ in Cells._fields))


def mutate(cells: Cells, rng: random.Random) -> Cells:
    """Change one operation or one input of one block, at random, to something else."""
    kind = rng.choice(Cells._fields)
    blocks = list(getattr(cells, kind).blocks)
    index = rng.randrange(len(blocks))
    field = rng.choice(Block._fields)
    old = getattr(blocks[index], field)
    choices = range(2 + index) if field.endswith("input") else OPERATIONS
    new = rng.choice([choice for choice in choices if choice != old])
    blocks[index] = blocks[index]._replace(**{field: new})
    return cells._replace(**{kind: _close(blocks)})


def _close(blocks: list[Block]) -> Cell:
    """Output what no block uses."""
    used = {index for block in blocks for index in (block.left_input, block.right_input)}
    output = tuple(index for index in range(2, 2 + len(blocks)) if index not in used)
    return Cell(tuple(blocks), output)


def digits_accuracy(
    cells: Cells, *, channels: int = 8, steps: int = 30, seed: int = 0, device=None
) -> float:
    """Share of unseen digits that a small network of these cells reads after a short training.

    The 1,797 digits of 8×8 pixels come with scikit-learn: 1,000 train, the others judge. Three
    cells in all, so that a candidate costs about a second. Other data need other
    functions like this one.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32, device=device).reshape(-1, 1, 8, 8) / 8 - 1
    labels = torch.tensor(labels, device=device)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator, device="cpu")
    train, test = order[:1000], order[1000:]
    network = get_model(
        "nasnet_a_mobile",
        num_classes=10,
        in_channels=1,
        cells=cells,
        channels=channels,
        repeats=1,
        stem="cifar",
        stem_channels=2 * channels,
        generator=generator,
    )
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(train), (64,), generator=generator, device="cpu")
        batch = train[chosen]
        loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        return (network(images[test]).argmax(1) == labels[test]).float().mean().item()
