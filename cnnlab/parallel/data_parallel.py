"""The same network in several processes, each with its part of the images."""

import time

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

__all__ = ["all_reduce_seconds", "distribute", "gradients", "ring_all_reduce", "step_seconds"]


def distribute(model: nn.Module, strategy: str = "ddp") -> nn.Module:
    """Make a network data-parallel, within a process group.

    Parameters
    ----------
    model
        The same in every process, on its device.
    strategy
        ``"ddp"``: every process has all weights, and gradients are averaged
        (`DistributedDataParallel`). ``"fsdp"``: every process keeps a part of the weights,
        gradients and optimizer state, and fetches the rest when a layer needs it
        (`torch.distributed.fsdp.fully_shard`).

    Raises
    ------
    ValueError
        If there is no such strategy.
    """
    if strategy == "ddp":
        return DistributedDataParallel(model)
    if strategy == "fsdp":
        device = next(model.parameters()).device.type
        mesh = init_device_mesh(device, (dist.get_world_size(),))
        for child in model.children():  # each is fetched on its own
            if any(True for _ in child.parameters()):
                fully_shard(child, mesh=mesh)
        return fully_shard(model, mesh=mesh)
    raise ValueError(f"strategy {strategy!r} is none of ddp, fsdp")


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def _model(name: str, options: dict) -> nn.Module:
    """The same network in every process."""
    from cnnlab.models import get_model

    return get_model(name, generator=torch.Generator().manual_seed(0), **options).to(_device())


def gradients(
    name: str, options: dict, images: Tensor, labels: Tensor, strategy: str = "ddp"
) -> dict[str, Tensor]:
    """Gradients of the mean cross entropy over ``images``, dealt out in equal parts.

    For `launch`: ``launch(gradients, 2, name="lenet5", options={}, images=..., labels=...)``.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    network = distribute(_model(name, options), strategy)
    part = slice(rank * len(images) // world, (rank + 1) * len(images) // world)
    scores = network(images[part].to(_device()))
    nn.functional.cross_entropy(scores, labels[part].to(_device())).backward()
    whole = {}
    for key, parameter in network.named_parameters():
        gradient = parameter.grad
        gradient = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
        whole[key.removeprefix("module.")] = gradient.cpu()
    return whole


def step_seconds(
    name: str,
    options: dict,
    size: int,
    batch_size: int,
    strategy: str = "ddp",
    steps: int = 5,
) -> list[float]:
    """Seconds of each training step with ``batch_size`` images a process. For `launch`."""
    device, world = _device(), dist.get_world_size()
    model = _model(name, options)
    network = distribute(model, strategy) if world > 1 or strategy == "fsdp" else model
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    channels = options.get("in_channels", 3)
    images = torch.rand(batch_size, channels, size, size, device=device)
    labels = torch.zeros(batch_size, dtype=torch.long, device=device)

    def step():
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return _timed(step, steps)


def all_reduce_seconds(elements: int, steps: int = 5) -> list[float]:
    """Seconds that the group takes to add up ``elements`` float32 numbers. For `launch`."""
    numbers = torch.ones(elements, device=_device())
    return _timed(lambda: dist.all_reduce(numbers), steps)


def _timed(action, steps: int) -> list[float]:
    device, seconds = _device(), []
    for index in range(steps + 2):  # two to warm up
        dist.barrier()
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if index >= 2:
            seconds.append(time.perf_counter() - start)
    return seconds


def ring_all_reduce(parts: list[Tensor]) -> tuple[list[Tensor], list[int]]:
    """Add up one tensor of each process as a ring does it, every process sending to the next.

    In p - 1 rounds each process passes a p-th of its numbers on, and the neighbour adds it to its
    own: now every process has one p-th of the sum. In p - 1 more rounds the sums go round. Each
    process sends 2 (p - 1) / p of the tensor, nearly independent of how many there are. Patarasuk
    and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.

    Parameters
    ----------
    parts
        One tensor a process, all of one shape.

    Returns
    -------
    tuple of list
        The sum, once for each process, and the bytes that each process sent.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if len({part.shape for part in parts}) != 1:
        raise ValueError(f"the shapes differ: {[tuple(part.shape) for part in parts]}")
    p = len(parts)
    chunks = [list(part.clone().flatten().tensor_split(p)) for part in parts]
    sent = [0] * p
    for round_ in range(2 * (p - 1)):
        # All send at once: what goes out was there before the round.
        outgoing = [chunks[rank][(rank - round_) % p] for rank in range(p)]
        for rank, chunk in enumerate(outgoing):
            neighbour, index = chunks[(rank + 1) % p], (rank - round_) % p
            neighbour[index] = neighbour[index] + chunk if round_ < p - 1 else chunk
            sent[rank] += chunk.nbytes
    return [torch.cat(own).view_as(parts[0]) for own in chunks], sent
