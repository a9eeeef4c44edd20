"""Mini-batches: from memory where the whole set fits on the device, else through workers."""

import math
import os
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

from cnnlab.data.image_set import ImageSet

__all__ = ["Batches"]


class Batches:
    """The mini-batches ``(images, labels)`` of a dataset on a device, epoch by epoch.

    An `ImageSet` (or a `TensorDataset` of two tensors) is put on the device once, if it takes no
    more than a quarter of the memory that is free there, and cut by indexing. Any other dataset
    goes through a `DataLoader`: a worker for each core but one (at most 8), memory pinned for a
    GPU and copied while it computes.

    The order of epoch e depends on the seed and e alone, so that a run that is resumed sees
    what an uninterrupted one sees.

    Parameters
    ----------
    data
        A dataset of pairs (image (C, H, W), label).
    batch_size
        Images a batch; the last one may be smaller.
    device
        Where the batches are wanted.
    shuffle
        Another order each epoch.
    seed
        Of the orders.
    workers
        Processes that read; default as above, ``0`` reads in this one.
    rank, world
        Take part ``rank`` of ``world`` equal parts of each epoch: data parallelism. The parts are
        equal because up to ``world - 1`` images are left out of an epoch.
    """

    def __init__(
        self,
        data: Dataset,
        batch_size: int,
        device: torch.device | str = "cpu",
        *,
        shuffle: bool = False,
        seed: int = 0,
        workers: int | None = None,
        rank: int = 0,
        world: int = 1,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size {batch_size} is below 1 image")
        if len(data) < world:
            raise ValueError(f"{len(data)} images cannot be dealt out to {world} processes")
        self.data, self.batch_size, self.device = data, batch_size, torch.device(device)
        self.shuffle, self.seed, self.rank, self.world = shuffle, seed, rank, world
        self.images, self.classes = len(data) // world, None
        tensors = _tensors(data)
        if tensors is not None and _fits(tensors, self.device):
            self.tensors, self.loader = [t.to(self.device) for t in tensors], None
            return
        self.tensors, self.order = None, _Order()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        workers = min(8, cores - 1) if workers is None else workers
        self.loader = DataLoader(
            data,
            batch_size,
            sampler=self.order,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
            persistent_workers=workers > 0,
            generator=torch.Generator().manual_seed(seed),
        )

    def __len__(self) -> int:
        return math.ceil(self.images / self.batch_size)

    def expect(self, classes: int, labels: Tensor) -> None:
        """Refuse labels that a network of so many outputs can't be told.

        Labels in memory are looked at now; otherwise ``labels``, the batch at hand, and from
        here on each batch before it is sent to the device.

        Raises
        ------
        ValueError
            If a label is not within 0 to classes - 1.
        """
        self.classes = classes
        _check(labels if self.tensors is None else self.tensors[1], classes)

    def epoch(self, number: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of epoch ``number``: images (N, C, H, W) and labels (N,) on the device."""
        count = self.images * self.world
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
            order = torch.randperm(len(self.data), generator=generator, device="cpu")[:count]
        else:
            order = torch.arange(count)
        order = order[self.rank :: self.world]
        if self.tensors is not None:
            for index in order.to(self.device).split(self.batch_size):
                yield tuple(tensor[index] for tensor in self.tensors)
            return
        self.order.indices = order.tolist()
        self.loader.generator.manual_seed(self.seed * 1_000_003 + number)  # the workers' seeds
        for images, labels in self.loader:
            _check(labels, self.classes)
            yield (
                images.to(self.device, non_blocking=True),
                labels.to(self.device, non_blocking=True),
            )


class _Order(Sampler):
    """Indices that are set before each epoch."""

    indices: list[int] = []  # noqa: RUF012 (replaced, never changed)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def _check(labels: Tensor, classes: int | None) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (classes is not None and high >= classes):
        raise ValueError(f"labels {low} to {high} do not fit the network's {classes} outputs")


def _tensors(data: Dataset) -> tuple[Tensor, Tensor] | None:
    if isinstance(data, ImageSet):
        return data.images, data.labels
    if isinstance(data, TensorDataset) and len(data.tensors) == 2:
        return data.tensors
    return None


def _fits(tensors: tuple[Tensor, ...], device: torch.device) -> bool:
    if device.type != "cuda":
        return True  # it is in this memory already, or shares it
    free, _ = torch.cuda.mem_get_info(device)
    return sum(tensor.nbytes for tensor in tensors) < free / 4
