"""Checkpoints: whole or not there at all, and refused where they do not belong."""

import os
import random
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

__all__ = ["load_checkpoint", "random_state", "save_checkpoint", "set_random_state"]


def save_checkpoint(path: Path, state: dict) -> None:
    """Write ``state`` so that ``path`` is at every moment the old file or the new one, whole.

    It is written beside it, forced to the disk and only then renamed.

    Raises
    ------
    OSError
        If it cannot be written, such as on a full disk; an older file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except (OSError, RuntimeError) as error:  # torch wraps what the file says in a RuntimeError
        cause = next((e for e in _chain(error) if isinstance(e, OSError)), error)
        reason = getattr(cause, "strerror", None) or str(cause).splitlines()[0]
        before = "the one from before is untouched" if path.exists() else "there is none"
        raise OSError(f"checkpoint {path} could not be written ({reason}); {before}") from None
    finally:
        Path(name).unlink(missing_ok=True)  # gone already if all went well
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name too is on the disk
    except OSError:  # some file systems can't; the rename itself was atomic
        pass
    finally:
        os.close(folder)


def _chain(error: BaseException | None):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def load_checkpoint(path: Path, model: nn.Module, settings: dict) -> dict:
    """Read a checkpoint that belongs to this model and these settings.

    Raises
    ------
    ValueError
        If the file is broken, or of another architecture, or of another recipe. Nothing is
        changed, neither the file nor the model.
    """
    advice = "move it away to start anew"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        saved, config = state["model"], state["settings"]
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"checkpoint {path} cannot be read ({reason}); {advice}") from None
    own = model.state_dict()
    for name in [*own, *saved]:
        mine, theirs = own.get(name), saved.get(name)
        if mine is None or theirs is None or mine.shape != theirs.shape:
            raise ValueError(
                f"checkpoint {path} is of another architecture: {name} is {_size(theirs)} there "
                f"and {_size(mine)} in this {type(model).__name__}; {advice}"
            )
    for name in settings:
        if settings[name] != config.get(name):
            raise ValueError(
                f"checkpoint {path} was made with {name}={config.get(name)!r}, not "
                f"{settings[name]!r}; {advice}"
            )
    return state


def _size(tensor) -> str:
    return "missing" if tensor is None else "×".join(map(str, tensor.shape)) or "a number"


def random_state(device: torch.device) -> dict:
    """Where all generators of random numbers stand."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 (augmentations may use it)
    version, numbers, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [name, keys.tolist(), *rest],
        "python": [version, list(numbers), gauss],
    }


def set_random_state(state: dict, device: torch.device) -> None:
    """Put all generators back to where `random_state` found them."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), *rest))  # noqa: NPY002
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
