"""What a network costs: parameters, memory, MACs and FLOPs, operation by operation.

>>> from cnnlab import summary
>>> import torchvision
>>> print(summary(torchvision.models.alexnet(), (3, 224, 224)).by_depth(1))  # doctest: +SKIP

**Definitions.** A MAC is one multiplication with its addition: 2 FLOPs, and what slides often call
one FLOP. The total "conv + linear" holds convolutions, linear layers and matrix products without
biases, and equals ``torch.utils.flop_counter``'s number halved; "with pools" adds one MAC for each
element of a pooling window. Normalizations, activations, sums and resizing count nothing. Memory
is the bytes of each output, one copy, forward only; a KB is 1024 bytes.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from cnnlab.cost import dispatch
from cnnlab.cost.command import summary_text
from cnnlab.cost.table import Row, Summary
from cnnlab.cost.trace import CostError, ShapeTensor, Trace

__all__ = ["CostError", "CostWarning", "Row", "Summary", "summary", "summary_text"]


class CostWarning(UserWarning):
    """The MACs of an operation are not in the totals."""


def summary(
    model: nn.Module, input_size, *, batch_size: int = 1, dtype: torch.dtype | None = None
) -> Summary:
    """What every operation of a forward pass makes and costs, without running it.

    The model may live on any device, meta included. It is followed in the mode it is in (training
    or evaluation), without its hooks, and is afterwards as it was: nothing is computed,
    nothing allocated, no buffer, hook or attribute added or changed.

    Parameters
    ----------
    model : nn.Module
        Any module whose forward pass does not decide by the values of a tensor.
    input_size : tuple of int, tensor, or several
        Without the batch: ``(3, 224, 224)``. A tensor is taken as it is, with its batch, type and
        device; none of its values is read. A list gives several inputs, a dict inputs by name.
    batch_size : int
        Goes in front of every size.
    dtype : torch.dtype, optional
        Of the inputs and of all floating-point parameters; without it the model's own.

    Returns
    -------
    Summary
        Shows itself as a table; has ``rows``, ``total_params``, ``total_macs``, ``total_flops``,
        ``total_memory`` (bytes), ``receptive_field``, ``output_shape``, and more.

    Raises
    ------
    CostError
        A ValueError of one sentence, where the forward pass would raise or cannot be followed; its
        ``table`` shows the rows up to there.

    Warns
    -----
    CostWarning
        For an operation without a rule, whose MACs are not counted.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 24 * 24, 10))
    >>> result = summary(net, (1, 28, 28))
    >>> result.total_params, result.total_macs, result.receptive_field
    (34726, 120960, 5)
    """
    if not isinstance(model, nn.Module):
        what = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise TypeError(f"summary takes an nn.Module that has been built, got {what}")
    model = getattr(model, "_orig_mod", model)  # of torch.compile
    trace = Trace(model, dispatch, dtype)
    inputs = _inputs(trace, input_size, batch_size)
    try:
        with trace.borrowed():
            if isinstance(inputs, dict):
                output = model(**inputs)
            else:
                output = model(*inputs)
        if _is_lost(output):
            raise trace.error(
                None,
                "the output",
                "does not come from the input: something that cannot be followed has lost it",
            )
    except Exception as error:
        raise _explained(error, model, trace, inputs) from (
            error.__cause__ if isinstance(error, CostError) else error
        )
    result = Summary(model, trace, inputs, output)
    trace.release()
    if result.not_counted:
        warnings.warn(
            f"the MACs of {', '.join(result.not_counted)} are not counted: no rule knows them",
            CostWarning,
            stacklevel=2,
        )
    return result


def _inputs(trace: Trace, input_size, batch_size: int):
    """Shape tensors: a list of positional inputs, or a dict of named ones."""
    tensors = itertools.chain(trace.parameters.values(), trace.buffers.values())
    like = next((t for t in tensors if t.is_floating_point()), None)
    like = torch.empty(0) if like is None else like
    device, dtype = like.device, trace.dtype or like.dtype
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive whole number, got {batch_size!r}")

    def one(size):
        if isinstance(size, torch.Tensor):
            return trace.tensor(size.shape, size.dtype, size.device)
        try:
            sizes = tuple(size) if not isinstance(size, int) else (size,)
            good = all(isinstance(n, int) and n > 0 for n in sizes)
        except TypeError:
            good = False
        if not good:
            raise ValueError(f"input_size must hold positive whole numbers, got {size!r}")
        return trace.tensor((batch_size, *sizes), dtype, device)

    if isinstance(input_size, Mapping):
        return {name: one(size) for name, size in input_size.items()}
    several = isinstance(input_size, (list, tuple)) and any(
        isinstance(size, (list, tuple, torch.Tensor)) for size in input_size
    )
    return [one(size) for size in input_size] if several else [one(input_size)]


def _is_lost(output) -> bool:
    """Whether only ordinary tensors came out, as after vmap, which hides what it does."""
    leaves = tree_leaves(output)
    return bool(leaves) and all(
        isinstance(leaf, torch.Tensor) and not isinstance(leaf, ShapeTensor) for leaf in leaves
    )


def _explained(error: Exception, model: nn.Module, trace: Trace, inputs) -> CostError:
    """The error in one sentence that names the layer, with the table up to it."""
    if not isinstance(error, CostError):
        frame = trace.failed or trace.frame
        where = f"{frame.kind} '{frame.path}'" if frame.path else frame.kind
        message = " ".join(str(error).split("\n")[0].split())
        if "uninitialized parameter" in message:
            message = "it is lazy and has no weights before its first call"
        else:
            message = f"{type(error).__name__}: {message}"
        error = CostError(f"{where} cannot be followed: {message}")
    if trace.ops and not error.table:
        error.table = str(Summary(model, trace, inputs))
        error.add_note(f"\nUp to there:\n{error.table}")
    return error
