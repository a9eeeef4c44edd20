"""The training loop."""

import copy
import math
import time
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import Dataset

from cnnlab.data import Batches, augmentation
from cnnlab.device import get_device
from cnnlab.models import InputSizeError
from cnnlab.progress import progress_bar
from cnnlab.training.checkpoint import (
    load_checkpoint,
    random_state,
    save_checkpoint,
    set_random_state,
)
from cnnlab.training.diagnose import (
    explain_failure,
    explain_nonfinite,
    refuse_data,
    refuse_nonfinite_weights,
    warn_of_probabilities,
)
from cnnlab.training.history import History
from cnnlab.training.recipes import Recipe, classification_loss, get_recipe

__all__ = ["Score", "evaluate", "fit", "predict"]

WORTH_COMPILING = 2000  # steps on a GPU that repay the half minute that torch.compile takes
EVALUATION_BATCH = 256  # images
LARGE = 64  # pixels from which channels_last is faster on a CPU too


class Score(NamedTuple):
    """Mean cross entropy in nats, and the share of images whose class is right."""

    loss: float
    accuracy: float


def fit(
    model: nn.Module,
    data: Dataset,
    recipe: Recipe | str = "quick",
    *,
    validation: Dataset | None = None,
    checkpoint: str | Path | None = None,
    parameters: Iterable | None = None,
    device: torch.device | str | None = None,
    autocast: bool | None = None,
    channels_last: bool | None = None,
    compile: bool | None = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> History:
    """Train a classifier; the model is changed in place and left on the device.

    The recipe says what is computed, the keyword arguments on what machine and how fast. In a
    process group (`cnnlab.parallel.launch`) the same call trains data-parallel: each process
    takes its part of each batch, and torch's DistributedDataParallel averages the gradients.

    Parameters
    ----------
    model
        ``(N, C, H, W)`` to scores ``(N, classes)``, or to a tuple of them (auxiliary heads).
        Parameters with ``requires_grad=False`` stay as they are, and so do the statistics of
        batch norms all of whose parameters are frozen.
    data, validation
        Datasets of (image, label), such as `cnnlab.data.ImageSet`.
    recipe
        A `Recipe` or the name of one of `RECIPES`.
    checkpoint
        A file, written atomically after each epoch. If it is there already, the run goes on
        from it, to the same result as if it had never stopped (in one process on a CPU, bit for
        bit).
    parameters
        What to train, as torch's optimizers take it; groups may have their own ``lr``
        (`cnnlab.transfer.parameter_groups`). Default: all that require a gradient.
    device
        Default: `cnnlab.get_device`.
    autocast
        Compute in bfloat16 where it is safe. Default: on GPUs that have it.
    channels_last
        Keep images as (N, H, W, C) in memory, which tensor cores want, and CPUs where images
        are large. Default: on CUDA, and for images from 64 pixels on.
    compile
        Use `torch.compile`. Default: on CUDA for runs of at least 2,000 steps.
    workers
        Processes that read images, for datasets that are not in memory.
    progress
        Show a bar; by default where somebody watches (`cnnlab.progress`).

    Raises
    ------
    FloatingPointError
        If the loss is no longer finite; the sentence names the first layer that made it so. The
        checkpoint is the last good one.
    TypeError
        If the data are not pairs of a tensor of floats and a class's number.
    ValueError
        If a label or the images do not fit the network, all is frozen, or the checkpoint is broken
        or of another run.
    OSError
        If the checkpoint cannot be written; an older one is untouched.
    """
    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    refuse_data(data)
    device = get_device() if device is None else torch.device(device)
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if recipe.batch_size % world:
        raise ValueError(f"batch_size {recipe.batch_size} does not divide by {world} processes")
    batches = Batches(
        data,
        recipe.batch_size // world,
        device,
        shuffle=True,
        seed=recipe.seed,
        workers=workers,
        rank=rank,
        world=world,
    )
    updates = math.ceil(len(batches) / recipe.accumulate)
    machine = Machine.choose(
        device,
        data[0][0].shape,
        recipe.epochs * updates,
        autocast=autocast,
        channels_last=channels_last,
        compile=compile,
    )
    model.to(device=device, memory_format=machine.layout)
    network = torch.compile(model) if machine.compile else model
    if world > 1:
        network = nn.parallel.DistributedDataParallel(network)
    if parameters is None:
        parameters = [p for p in model.parameters() if p.requires_grad]
        if not parameters:
            raise ValueError("every parameter is frozen (requires_grad=False): nothing to train")
    optimizer = recipe.make_optimizer(parameters, fused=device.type == "cuda")
    scheduler = recipe.make_scheduler(optimizer, updates)

    if validation is not None:
        held_out = Batches(validation, EVALUATION_BATCH, device, workers=workers)
    history, best = History(), None
    path = None if checkpoint is None else Path(checkpoint)
    trained = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    settings = recipe.settings() | {"images": len(data), "processes": world, "trained": trained}
    watched = "train_loss" if validation is None else "validation_loss"
    with _own_randomness(recipe.seed + rank, device):
        if path is not None and path.exists():
            state = load_checkpoint(path, model, settings)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            scheduler.load_state_dict(state["scheduler"])
            history, best = History(state["epochs"], state["stopped"]), state["best"]
            set_random_state(state["random"], device)
        bar = progress_bar(
            recipe.epochs * batches.images,
            type(model).__name__,
            False if rank else progress,
            initial=len(history) * batches.images,
            unit=" images",
        )
        with bar:
            while len(history) < recipe.epochs and not history.stopped:
                epoch, started = len(history), time.perf_counter()
                row = {"epoch": epoch + 1, "learning_rate": optimizer.param_groups[-1]["lr"]}
                bar.set_description(f"epoch {epoch + 1}/{recipe.epochs}")
                train, images = train_epoch(
                    model, network, batches, epoch, optimizer, scheduler, recipe, machine, bar
                )
                refuse_nonfinite_weights(model, epoch + 1)  # the last step's
                seconds = time.perf_counter() - started
                row |= {"train_loss": train.loss, "train_accuracy": train.accuracy}
                if validation is not None:
                    score = evaluate(model, held_out, device=device, autocast=machine.autocast)
                    row |= {"validation_loss": score.loss, "validation_accuracy": score.accuracy}
                history.epochs.append(
                    row | {"seconds": seconds, "images_per_second": images / seconds}
                )
                if recipe.schedule == "plateau":
                    scheduler.step(row[watched])
                if recipe.early_stop is not None:
                    losses = history[watched]
                    age = len(losses) - 1 - losses.index(min(losses))
                    if age == 0:
                        best = copy.deepcopy(model.state_dict())
                    elif age >= recipe.early_stop:
                        history.stopped = f"stopped early: {age} epochs with no better {watched}"
                if path is not None and rank == 0:
                    state = {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "scheduler": scheduler.state_dict(),
                        "epochs": history.epochs,
                        "stopped": history.stopped,
                        "best": best,
                        "settings": settings,
                        "random": random_state(device),
                    }
                    save_checkpoint(path, state)
    if best is not None:
        model.load_state_dict(best)
    model.eval()
    return history


def train_epoch(
    model: nn.Module,
    network: nn.Module,
    batches: Batches,
    epoch: int,
    optimizer: torch.optim.Optimizer,
    scheduler,
    recipe: Recipe,
    machine: "Machine",
    bar,
) -> tuple[Score, int]:
    """One pass over the training images: the loop itself.

    ``network`` is ``model`` as it is computed, perhaps compiled, perhaps in a process group.
    Returns the mean score while the weights were changing, and the number of images.
    """
    augment = augmentation(recipe.augment)
    loss_sum, right_sum, seen = 0.0, 0.0, 0
    _train_mode(model)
    for step, (images, labels) in enumerate(batches.epoch(epoch)):
        if augment is not None:
            images = augment(images)
        images = images.contiguous(memory_format=machine.layout)
        with machine.autocast_context():
            try:
                output = network(images)
            except InputSizeError:  # one of our networks has said it already
                raise
            except (RuntimeError, ValueError) as error:
                if reason := explain_failure(model, images, error):
                    raise ValueError(reason) from error
                raise
            if step == 0:
                batches.expect(_scores(output).shape[1], labels)
                if epoch == 0:
                    warn_of_probabilities(_scores(output))
            loss = classification_loss(output, labels, recipe)
        right = (_scores(output).argmax(1) == labels).sum()
        reading = _Reading(loss, right)

        first = step - step % recipe.accumulate  # of the batches that make this step together
        (loss / min(recipe.accumulate, len(batches) - first)).backward()
        value, count = reading.values()  # waits for the forward pass, not for the backward
        if not math.isfinite(value):
            where = f"epoch {epoch + 1}, step {step + 1}"
            raise FloatingPointError(
                explain_nonfinite(model, images, value, where, recipe.learning_rate)
            )
        if (step + 1) % recipe.accumulate == 0 or step + 1 == len(batches):
            if recipe.clip_norm is not None:
                trained = [p for group in optimizer.param_groups for p in group["params"]]
                nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            if recipe.schedule != "plateau":
                scheduler.step()

        loss_sum, right_sum = loss_sum + value * len(labels), right_sum + count
        seen += len(labels)
        bar.set_postfix_str(f"loss {loss_sum / seen:.3f}, {right_sum / seen:.1%}", refresh=False)
        bar.update(len(labels))
    loss_sum, right_sum, seen = _over_processes([loss_sum, right_sum, seen], machine.device)
    return Score(loss_sum / seen, right_sum / seen), seen


@dataclass(frozen=True)
class Machine:
    """How a run is computed, as far as that leaves the result the same but for rounding."""

    device: torch.device
    autocast: bool
    layout: torch.memory_format
    compile: bool

    @classmethod
    def choose(
        cls,
        device: torch.device,
        shape: torch.Size,
        steps: int,
        *,
        autocast: bool | None = None,
        channels_last: bool | None = None,
        compile: bool | None = None,
    ) -> "Machine":
        """Where a choice is None, what suits the device, the images and a run of so many steps."""
        on_gpu = device.type == "cuda"
        if autocast is None:
            autocast = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        if channels_last is None:
            channels_last = on_gpu or min(shape[1:], default=0) >= LARGE
        if compile is None:
            compile = on_gpu and steps >= WORTH_COMPILING
        images = len(shape) == 3  # and not features
        layout = torch.channels_last if channels_last and images else torch.contiguous_format
        return cls(device, autocast, layout, compile)

    def autocast_context(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Dataset | Batches,
    *,
    device: torch.device | str | None = None,
    batch_size: int = EVALUATION_BATCH,
    autocast: bool = False,
    workers: int | None = None,
) -> Score:
    """Mean loss and accuracy of a classifier on a dataset, in evaluation mode.

    Raises
    ------
    ValueError
        If a label does not fit the network's outputs.
    """
    device = get_device() if device is None else torch.device(device)
    model.to(device).eval()
    if not isinstance(data, Batches):
        data = Batches(data, batch_size, device, workers=workers)
    loss, right = torch.zeros((), device=device), torch.zeros((), device=device)
    for step, (images, labels) in enumerate(data.epoch()):
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            scores = _scores(model(images))
            if step == 0:
                data.expect(scores.shape[1], labels)
            loss += nn.functional.cross_entropy(scores.float(), labels, reduction="sum")
        right += (scores.argmax(1) == labels).sum()
    return Score(loss.item() / data.images, right.item() / data.images)


@torch.no_grad()
def predict(
    model: nn.Module,
    data: Dataset,
    *,
    device: torch.device | str | None = None,
    batch_size: int = EVALUATION_BATCH,
) -> Tensor:
    """Class probabilities (N, classes) of all images, on the CPU."""
    device = get_device() if device is None else torch.device(device)
    model.to(device).eval()
    batches = Batches(data, batch_size, device)
    return torch.cat([_scores(model(x)).softmax(1).cpu() for x, _ in batches.epoch()])


def _scores(output) -> Tensor:
    """The main output, without auxiliary heads."""
    return output[0] if isinstance(output, tuple) else output


def _train_mode(model: nn.Module) -> None:
    """Training mode, but frozen batch norms keep their statistics: they too are weights."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.affine:
            module.train(any(p.requires_grad for p in module.parameters()))


class _Reading:
    """Two numbers on their way from the device, while it goes on computing."""

    def __init__(self, *numbers: Tensor):
        stacked = torch.stack([number.detach().float() for number in numbers])
        self.copy = stacked.to("cpu", non_blocking=stacked.is_cuda)
        self.arrived = None
        if stacked.is_cuda:
            self.arrived = torch.cuda.Event()
            self.arrived.record()

    def values(self) -> list[float]:
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.copy.tolist()


@contextmanager
def _own_randomness(seed: int, device: torch.device):
    """Random numbers from this seed; the caller's own sequence goes on afterwards."""
    before = random_state(device)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        set_random_state(before, device)


def _over_processes(totals: list[float], device: torch.device) -> list[float]:
    """The sums over all processes of a group."""
    if not dist.is_initialized():
        return totals
    summed = torch.tensor(totals, device=device)
    dist.all_reduce(summed)
    return summed.tolist()
