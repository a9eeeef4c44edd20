"""More than one device gives what one device gives."""

import os
import socket
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnnlab.data import ImageSet, digits
from cnnlab.models import get_model
from cnnlab.parallel import (
    Scaling,
    ScalingTable,
    TwoDeviceAlexNet,
    all_reduce_bytes,
    gradients,
    launch,
    ring_all_reduce,
    scaling,
)
from cnnlab.training import Recipe, fit

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def alexnet():
    model = get_model("alexnet_two_gpu", num_classes=10, generator=torch.Generator().manual_seed(0))
    return model.eval()


def test_two_halves_give_the_outputs_of_the_whole(alexnet):
    halves = TwoDeviceAlexNet(alexnet, ("cpu", "cpu")).eval()
    images = torch.randn(2, 3, 227, 227, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, got = alexnet(images), halves(images)
    assert expected.abs().max() > 0.01
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-6 * expected.abs().max().item())


def test_the_halves_hold_half_of_the_parameters_each(alexnet):
    halves = TwoDeviceAlexNet(alexnet, ("cpu", "cpu")).halves
    counts = [sum(p.numel() for p in half.parameters()) for half in halves]
    assert counts[0] == counts[1] == sum(p.numel() for p in alexnet.parameters()) / 2


def test_what_crosses_is_what_the_figure_draws(alexnet):
    """Conv 3 sees all 256 maps 13×13, FC6 all 256 maps 6×6, FC7 and FC8 4096 units; norms 2 + 2."""
    halves = TwoDeviceAlexNet(alexnet, ("cpu", "cpu")).eval()
    with torch.no_grad():
        halves(torch.zeros(1, 3, 227, 227))
    norms = 4 * (55 * 55 + 27 * 27)
    numbers = norms + 256 * 13 * 13 + 256 * 6 * 6 + 4096 + 4096 + 5
    assert halves.exchanged == 4 * numbers


def test_gradients_of_the_halves_are_those_of_the_whole(alexnet):
    halves = TwoDeviceAlexNet(alexnet, ("cpu", "cpu")).eval()
    images, labels = torch.randn(1, 3, 227, 227), torch.tensor([3])
    for model in (alexnet, halves):
        model.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
    for index in (0, 4, 8, 10, 12):  # the convolutions
        expected = alexnet.features[index].weight.grad
        got = torch.cat([half[index].weight.grad for half in halves.halves])
        assert torch.allclose(got, expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: TwoDeviceAlexNet(m, ("cpu",)), "two devices are needed, got 1"),
        (
            lambda _: TwoDeviceAlexNet(get_model("alexnet", device="meta"), ("cpu", "cpu")),
            r"its convolutions have \[1, 1, 1, 1, 1\] groups, not the \[1, 2, 1, 2, 2\]",
        ),
    ],
)
def test_networks_without_halves_are_refused(alexnet, call, message):
    with pytest.raises(ValueError, match=message):
        call(alexnet)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 40))
def test_a_ring_adds_up_and_sends_what_the_formula_says(processes, elements):
    generator = torch.Generator().manual_seed(elements)
    parts = [torch.randn(elements, generator=generator).double() for _ in range(processes)]
    sums, sent = ring_all_reduce(parts)
    for total in sums:
        assert torch.allclose(total, sum(parts))
        assert torch.equal(total, sums[0])
    assert sum(sent) / processes == pytest.approx(all_reduce_bytes(elements * 8, processes))


def train_in_group(images: torch.Tensor, labels: torch.Tensor) -> dict:
    """`fit`, as it stands in any script: the weights afterwards, and the losses."""
    model = get_model("lenet5", generator=torch.Generator().manual_seed(0))
    data = ImageSet(images, labels, [str(i) for i in range(10)], "digits")
    history = fit(model, data, Recipe(epochs=2, batch_size=16), device="cpu")
    return {"weights": model.classifier[-1].weight.detach(), "losses": history["train_loss"]}


def all_in_group(images: torch.Tensor, labels: torch.Tensor) -> dict:
    """In one start of the processes: gradients by DDP and by FSDP, and a network trained."""
    task = {"name": "lenet5", "options": {}, "images": images[:16], "labels": labels[:16]}
    found = {strategy: gradients(strategy=strategy, **task) for strategy in ("ddp", "fsdp")}
    return {"gradients": found, "trained": train_in_group(images, labels)}


@pytest.fixture(scope="module")
def images_and_labels() -> tuple[torch.Tensor, torch.Tensor]:
    data = digits("test", 32)
    return data.images[:64], data.labels[:64]


@pytest.fixture(scope="module")
def two_processes(images_and_labels) -> list[dict]:
    images, labels = images_and_labels
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]  # free again after this block
    return launch(all_in_group, 2, device="cpu", port=port, images=images, labels=labels)


def test_two_processes_have_the_gradients_of_one(images_and_labels, two_processes):
    """No batch norm, equal parts: the mean of the parts' gradients is the whole's."""
    images, labels = (part[:16] for part in images_and_labels)
    model = get_model("lenet5", generator=torch.Generator().manual_seed(0))
    nn.functional.cross_entropy(model(images), labels).backward()
    for result in two_processes:
        for strategy, got in result["gradients"].items():
            assert got.keys() == {name for name, _ in model.named_parameters()}
            for name, parameter in model.named_parameters():
                assert (got[name] - parameter.grad).abs().max() < 1e-6, (strategy, name)


def test_fit_in_two_processes_is_fit_in_one(images_and_labels, two_processes):
    alone = train_in_group(*images_and_labels)
    first, second = (result["trained"] for result in two_processes)
    assert torch.equal(first["weights"], second["weights"])
    assert torch.allclose(first["weights"], alone["weights"], atol=1e-5)
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-4)


NOTEBOOK_CELL = """
from cnnlab.parallel import launch

def ranks(factor):
    import torch.distributed as dist
    if factor == 0:
        raise ValueError("factor is 0")
    return factor * dist.get_rank()

print(launch(ranks, 2, device="cpu", factor=10))
try:
    launch(ranks, 1, device="cpu", factor=0)
except RuntimeError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_notebook_starts_processes_that_run_its_cell(monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK_CELL)])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    nbclient.NotebookClient(notebook, timeout=300).execute()
    printed = "".join(output["text"] for output in notebook.cells[0].outputs)
    assert printed == "[0, 10]\nranks failed: ValueError: factor is 0\n"


def test_a_port_in_use_is_said_and_a_free_one_is_found():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"port {port} is in use; leave port out"):
            launch(train_in_group, 2, device="cpu", port=port)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: launch(train_in_group, 0), "processes 0 is below 1"),
        (lambda: launch(lambda: 1, 1), "the source of <lambda> is not to be had"),
        (lambda: all_reduce_bytes(8, 0), "processes 0 is below 1"),
        (lambda: ring_all_reduce([torch.ones(2), torch.ones(3)]), r"the shapes differ: \[\(2,\),"),
        (
            lambda: launch(train_in_group, 99, device="cuda"),
            "99 processes need as many GPUs, there are",
        ),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def sleep_for_long(note: str) -> None:
    """Leave this process's id in a file, then do nothing."""
    import os
    import time
    from pathlib import Path

    Path(note).write_text(str(os.getpid()))
    time.sleep(1000)


@pytest.mark.slow
def test_processes_that_take_too_long_are_ended(tmp_path):
    note = tmp_path / "pid"
    with pytest.raises(RuntimeError, match="sleep_for_long was not done after 60 s in 1 processes"):
        launch(sleep_for_long, 1, device="cpu", timeout=60, note=str(note))
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


@pytest.mark.slow
def test_a_scaling_table_measures_and_predicts():
    one, two = scaling("lenet5", 32, 64, (1, 2), device="cpu", steps=3, in_channels=1)
    assert one.sent == 0 and two.sent == 4 * 61_706
    assert one.communicate == 0 < two.communicate
    assert one.measured > 0 and two.images_per_second > 0
    low, high = two.predicted
    assert low <= high


def test_the_prediction_lies_between_hidden_and_added_communication():
    row = Scaling(4, 32, all_reduce_bytes(1_000_000, 4), 0.2, 0.1, 0.25)
    assert row.sent == 1_500_000
    assert row.predicted == pytest.approx((128 / 0.3, 128 / 0.2))
    slow = Scaling(4, 32, 1_500_000, 0.3, 0.3, 0.5)  # as long as both passes: 0.1 s hides nothing
    assert slow.predicted == pytest.approx((128 / 0.6, 128 / 0.4))
    assert repr(ScalingTable([row])).splitlines()[1].split() == [
        *("4", "1.50", "MB", "100.0", "ms"),
        *("427", "to", "640", "512"),
    ]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_give_the_outputs_of_the_whole(alexnet):
    halves = TwoDeviceAlexNet(alexnet, ("cuda:0", "cuda:1")).eval()
    images = torch.randn(2, 3, 227, 227)
    with torch.no_grad():
        expected, got = alexnet(images), halves(images.to("cuda:0")).cpu()
    assert torch.allclose(got, expected, rtol=1e-2, atol=1e-4)


@pytest.mark.gpu
def test_one_gpu_process_has_the_gradients_of_the_cpu():
    images = torch.rand(16, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    task = {"name": "lenet5", "options": {}, "images": images, "labels": torch.arange(16) % 10}
    there, here = (launch(gradients, 1, device=d, **task)[0] for d in ("cuda", "cpu"))
    for name, gradient in here.items():
        assert torch.allclose(there[name], gradient, atol=1e-3)
