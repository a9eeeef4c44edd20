import random

import numpy as np
import pytest
import torch

from cnnlab import get_device, seed_everything


def test_the_environment_chooses_the_device(monkeypatch):
    monkeypatch.setenv("CNNLAB_DEVICE", "cpu")
    assert get_device() == torch.device("cpu")


@pytest.mark.parametrize("wrong", ["cuda:99", "gpu", "toaster"])
def test_a_device_that_is_not_there_is_refused_in_a_sentence(monkeypatch, wrong):
    monkeypatch.setenv("CNNLAB_DEVICE", wrong)
    with pytest.raises(RuntimeError, match=f"CNNLAB_DEVICE='{wrong}' is not usable here .*; unset"):
        get_device()


def test_without_a_wish_the_best_device_is_taken(monkeypatch):
    monkeypatch.delenv("CNNLAB_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert get_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert get_device().type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert get_device().type == "cpu"


def test_a_seed_repeats_every_source_of_chance():
    def draw():
        generator = seed_everything(7)
        drawn = random.random(), np.random.rand()  # noqa: NPY002
        return *drawn, torch.rand(1), torch.rand(1, generator=generator)

    assert draw() == draw()
    seed_everything(8)
    assert random.random() != draw()[0]


@pytest.mark.gpu
def test_a_gpu_is_taken_and_seeded(monkeypatch):
    monkeypatch.delenv("CNNLAB_DEVICE", raising=False)
    assert get_device().type == "cuda"
    seed_everything(7)
    first = torch.rand(3, device="cuda")
    seed_everything(7)
    assert torch.equal(first, torch.rand(3, device="cuda"))
