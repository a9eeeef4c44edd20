"""How much faster more processes are: measured, and predicted from two numbers."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cnnlab.models import get_model
from cnnlab.parallel.data_parallel import all_reduce_seconds, step_seconds
from cnnlab.parallel.launch import launch

__all__ = ["Scaling", "ScalingTable", "all_reduce_bytes", "scaling"]


def all_reduce_bytes(gradient_bytes: int, processes: int) -> float:
    """Bytes that each process sends in a ring all-reduce: ``2 (p - 1) / p`` of the gradient."""
    if processes < 1:
        raise ValueError(f"processes {processes} is below 1")
    return 2 * (processes - 1) / processes * gradient_bytes


@dataclass(frozen=True)
class Scaling:
    """One line of the scaling table: so many processes, each with its own images (weak scaling).

    Attributes
    ----------
    processes, batch_size : int
        Processes, and images a step in each.
    sent : float
        Bytes that each process sends a step.
    compute, communicate : float
        Predicted seconds of a step: those of one process, and those that a ring needs for the
        gradient at the speed that was measured in this group.
    measured : float
        Median seconds of a step.
    """

    processes: int
    batch_size: int
    sent: float
    compute: float
    communicate: float
    measured: float

    @property
    def predicted(self) -> tuple[float, float]:
        """Least and most images/s: communication after the backward pass, or hidden behind it.

        Only the backward pass hides it, two thirds of the computing.
        """
        images = self.processes * self.batch_size
        longest = self.compute + self.communicate
        shortest = self.compute / 3 + max(2 * self.compute / 3, self.communicate)
        return images / longest, images / shortest

    @property
    def images_per_second(self) -> float:
        """Measured images a second, of all processes together."""
        return self.processes * self.batch_size / self.measured


class ScalingTable(tuple[Scaling, ...]):
    """Lines of `Scaling` that print as a table."""

    def __repr__(self) -> str:
        lines = ["processes  sent a step  all-reduce   images/s: predicted   measured"]
        for row in self:
            low, high = row.predicted
            lines.append(
                f"{row.processes:9}{row.sent / 1e6:10.2f} MB{1e3 * row.communicate:9.1f} ms"
                f"{f'{low:,.0f} to {high:,.0f}':>22}{row.images_per_second:11,.0f}"
            )
        return "\n".join(lines)


def scaling(
    name: str = "resnet20_cifar",
    size: int = 32,
    batch_size: int = 32,
    processes: Sequence[int] = (1, 2),
    *,
    strategy: str = "ddp",
    device: str | None = None,
    steps: int = 5,
    **options,
) -> "ScalingTable":
    """Measure training steps with 1, 2, ... processes, and predict them.

    The prediction knows the step of one process, the ring formula `all_reduce_bytes`, and the
    speed of an all-reduce of that size in this group. What it leaves out is seen where the
    measured value leaves its range: on one CPU the processes share its cores, caches and memory.

    Parameters
    ----------
    name, options
        A network of `cnnlab.models` and its options.
    size
        Height and width of the images.
    batch_size
        Images a step in each process.
    processes
        Numbers of processes to measure.
    strategy
        ``"ddp"`` or ``"fsdp"``.
    device
        ``"cpu"`` or ``"cuda"``; by default CUDA if there are enough GPUs.
    steps
        Steps to time, after two to warm up.
    """
    parameters = sum(p.numel() for p in get_model(name, device="meta", **options).parameters())
    task = {"name": name, "options": options, "size": size, "batch_size": batch_size}
    task |= {"strategy": strategy, "steps": steps}
    alone = statistics.median(launch(step_seconds, 1, device=device, **task)[0])
    table = []
    for count in processes:
        measured, communicate = alone, 0.0
        if count > 1:
            measured = statistics.median(launch(step_seconds, count, device=device, **task)[0])
            seconds = launch(
                all_reduce_seconds, count, device=device, elements=parameters, steps=steps
            )[0]
            communicate = statistics.median(seconds)
        sent = all_reduce_bytes(4 * parameters, count)
        table.append(Scaling(count, batch_size, sent, alone, communicate, measured))
    return ScalingTable(table)
