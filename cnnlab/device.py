"""Which device to compute on, and how to make a run repeatable."""

import os
import random
from collections.abc import Callable

import numpy as np
import torch

__all__ = ["draw_into", "get_device", "seed_everything"]


def get_device() -> torch.device:
    """The device that this machine offers: CUDA, else MPS, else the CPU.

    The environment variable ``CNNLAB_DEVICE`` overrides the choice (``cpu``, ``cuda``,
    ``cuda:1``, ``mps``), so that one notebook runs anywhere unchanged.

    Raises
    ------
    RuntimeError
        If ``CNNLAB_DEVICE`` names a device that is not there.
    """
    wanted = os.environ.get("CNNLAB_DEVICE", "").strip()
    if not wanted:
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RuntimeError(
            f"CNNLAB_DEVICE={wanted!r} is not usable here ({reason}); "
            "unset it to let cnnlab choose."
        ) from None
    return device


def seed_everything(seed: int = 0) -> torch.Generator:
    """Seed Python's, NumPy's and torch's random numbers, on every device.

    Returns
    -------
    torch.Generator
        A CPU generator with the same seed, for the functions that take ``generator=``.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (students' own code may use the global state)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def draw_into(
    tensor: torch.Tensor, draw: Callable[..., object], generator: torch.Generator | None
) -> None:
    """Fill a tensor with random numbers that are drawn where the generator is.

    ``draw(tensor, generator=generator)`` fills in place, as `torch.nn.init` does. PyTorch wants
    both on one device; here the numbers are drawn on the generator's and copied, so that a CPU
    generator gives a network the same weights on every device.
    """
    if generator is None or generator.device == tensor.device:
        draw(tensor, generator=generator)
        return
    with torch.no_grad():
        drawn = torch.empty_like(tensor, device=generator.device)
        draw(drawn, generator=generator)
        tensor.copy_(drawn)
