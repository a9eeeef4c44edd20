"""What lecture 16 measures, on cases whose answer is known."""

import pytest
import torch

from cnnlab.experiments import Bench, transfer
from cnnlab.models import get_model

CPU = Bench(torch.device("cpu"), 1)


def two_classes(confidence: float, right: int, n: int = 10):
    """``n`` answers of the same confidence for class 0, of which ``right`` are right."""
    probabilities = torch.tensor([[confidence, 1 - confidence]]).repeat(n, 1)
    return probabilities, (torch.arange(n) >= right).long()


@pytest.mark.parametrize(
    ("confidence", "right", "error"),
    [(0.7, 7, 0.0), (1.0, 5, 0.5), (0.6, 10, 0.4), (0.95, 0, 0.95)],
)
def test_the_calibration_error_is_the_gap_of_confidence_and_accuracy(confidence, right, error):
    got = transfer.calibration_error(*two_classes(confidence, right))
    assert got == pytest.approx(error, abs=1e-6)


def test_gaps_of_different_bins_do_not_cancel():
    parts = [two_classes(0.95, 8), two_classes(0.65, 8)]  # 0.15 too sure, 0.15 too modest
    probabilities, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    assert transfer.calibration_error(probabilities, labels) == pytest.approx(0.15, abs=1e-6)


def test_the_linear_probe_reads_what_a_line_can_tell_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    told = torch.randn(200, 5, generator=generator) + 6 * labels[:, None]
    noise = torch.randn(200, 5, generator=generator)
    halves = slice(100), slice(100, 200)
    assert transfer.linear_probe(*(told[h] for h in halves), *(labels[h] for h in halves)) > 0.95
    assert transfer.linear_probe(*(noise[h] for h in halves), *(labels[h] for h in halves)) < 0.7


def test_a_backbone_that_has_not_changed_forgets_nothing(monkeypatch):
    """And one with random weights has nothing to forget: the measure can fall."""
    kept = get_model("efficientnet_lite0", weights="imagenet")
    fresh = get_model("efficientnet_lite0", generator=torch.Generator().manual_seed(0))
    models = {"linear probe": kept, "fine-tune the top": kept, "fine-tune all": fresh}
    monkeypatch.setattr(transfer, "_adapted", lambda cell, strategy, *_: models[strategy])
    values = transfer.forgetting(0, CPU)
    assert values["much, similar: linear probe"] == values["much, different: linear probe"] == 1
    assert values["much, similar: fine-tune all"] < 0.2
