import random

import pytest
import torch

from cnnlab.models import get_model
from cnnlab.models.evolution import digits_accuracy, evolve, mutate, random_cells
from cnnlab.models.nasnet import NASNET_A
from cnnlab.models.searched_cell import OPERATIONS, Cells


def share_of_identities(cells: Cells) -> float:
    """How many operations are identities: a search should find that all can be."""
    names = [n for cell in cells for b in cell.blocks for n in (b.left, b.right)]
    return names.count("identity") / len(names)


def test_evolution_finds_what_random_search_does_not():
    evolved = evolve(share_of_identities, population=20, cycles=280, sample=5, seed=0)
    lucky = evolve(share_of_identities, population=300, cycles=0, sample=1, seed=0)
    best = [max(candidate.fitness for candidate in history) for history in (evolved, lucky)]
    assert len(evolved) == len(lucky) == 300
    assert best[0] == 1.0
    assert best[1] < 1.0


def test_a_seed_repeats_the_search_and_parents_are_alive():
    history = evolve(share_of_identities, population=4, cycles=30, sample=2, seed=3)
    assert history == evolve(share_of_identities, population=4, cycles=30, sample=2, seed=3)
    for index, candidate in enumerate(history):
        if index < 4:
            assert candidate.parent is None
        else:
            assert index - 4 <= candidate.parent < index


def test_a_mutation_changes_one_thing():
    rng = random.Random(0)
    for _ in range(200):
        parent = random_cells(3, rng)
        child = mutate(parent, rng)
        changes = [
            (old, new)
            for before, after in zip(parent, child, strict=True)
            for a, b in zip(before.blocks, after.blocks, strict=True)
            for old, new in zip(a, b, strict=True)
            if old != new
        ]
        assert len(changes) == 1


def test_every_random_cell_is_a_network():
    rng = random.Random(1)
    for stem in ("cifar", "imagenet"):
        for _ in range(6):
            cells = random_cells(rng.randint(1, 4), rng)
            network = get_model("nasnet_a_mobile", num_classes=3, cells=cells, channels=8,
                                repeats=1, stem=stem, device="meta").eval()  # fmt: skip
            side = 8 if stem == "cifar" else 64
            assert network(torch.empty(2, 3, side, side, device="meta")).shape == (2, 3)


def test_nasnet_a_uses_what_the_search_space_has():
    for cell in NASNET_A:
        assert len(cell.blocks) == 5
        for block in cell.blocks:
            assert {block.left, block.right} <= set(OPERATIONS)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="between 1 and population=4, got 5"):
        evolve(share_of_identities, population=4, sample=5)
    cells = NASNET_A._replace(
        normal=NASNET_A.normal._replace(
            blocks=(NASNET_A.normal.blocks[0]._replace(left="7x7"), *NASNET_A.normal.blocks[1:])
        )
    )
    with pytest.raises(ValueError, match="'7x7'"):
        get_model("nasnet_a_mobile", cells=cells, device="meta")


def test_digits_are_learned_and_repeatable():
    state = torch.get_rng_state()
    accuracy = digits_accuracy(NASNET_A, steps=12, channels=4)
    assert accuracy > 0.2  # guessing gets 0.1
    assert accuracy == digits_accuracy(NASNET_A, steps=12, channels=4)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_a_search_on_digits_improves_on_where_it_starts():
    history = evolve(digits_accuracy, population=6, cycles=12, seed=0)
    start = sum(candidate.fitness for candidate in history[:6]) / 6
    end = sum(candidate.fitness for candidate in history[-6:]) / 6
    assert end > start
