"""What a network costs: parameters, memory, MACs and FLOPs, operation by operation.

>>> from cnnlab import summary
>>> import torchvision
>>> print(summary(torchvision.models.alexnet(), (3, 224, 224)).by_depth(1))  # doctest: +SKIP

**Definitions.** A MAC is one multiplication with its addition: 2 FLOPs, and what slides often call
one FLOP. The total "conv + linear" holds convolutions, linear layers and matrix products without
biases, and equals ``torch.utils.flop_counter``'s number halved (which leaves out products of a
matrix and a vector); "with pools" adds one MAC for each element of a pooling window.
Normalizations, activations, sums, resizing and Fourier transforms count nothing. Memory is the
bytes of each output, one copy, forward only; a KB is 1024 bytes.
"""

from __future__ import annotations

import re
import warnings

import torch
from torch import nn

from cnnlab.cost.command import summary_text
from cnnlab.cost.compare import Comparison, Fit, compare, fits
from cnnlab.cost.explain import explain
from cnnlab.cost.table import Row, Summary
from cnnlab.tracing import ops
from cnnlab.tracing.inputs import arguments, mapped, short, tensors_in
from cnnlab.tracing.trace import CostError, NeedsValues, Rearranged, ShapeTensor, Trace

__all__ = [
    "Comparison", "CostError", "CostWarning", "Fit", "Row", "Summary", "compare", "explain", "fits",
    "summary", "summary_text",
]  # fmt: skip


class CostWarning(UserWarning):
    """The MACs of an operation are not in the totals."""


def summary(
    model: nn.Module,
    input_size,
    *,
    batch_size: int = 1,
    dtype: torch.dtype | list | dict | None = None,
    values: bool | None = None,
    **forward,
) -> Summary:
    """What every operation of a forward pass makes and costs, without running it.

    The model may live on any device, meta included. It is followed in the mode it is in (training
    or evaluation), with its hooks and under the autocast that is on. All this happens to a double
    of it: the model itself is not touched, and another thread may run it meanwhile.

    Parameters
    ----------
    model : nn.Module
    input_size : tuple of int, tensor, or several
        Without the batch: ``(3, 224, 224)``. A tensor is taken as it is, with its batch, type and
        device. A list gives several inputs, a dict inputs by name. In them, at any depth, may be
        lists, dicts and dataclasses, and None, flags and words, which are handed on.
    batch_size : int
        Goes in front of every size.
    dtype : torch.dtype, or one for each input in a list or dict
        Of the inputs; a single floating-point type is also that of the floating-point parameters.
        Without it the model's own.
    values : bool, optional
        A forward pass that decides by its data (a detector, a mask) has no shapes without
        values: it is run, with copies of the weights and random inputs where only a size is given,
        and ``result.with_values`` says so. True: always; False: never, it is an error.
    **forward
        Further arguments of the model's forward, handed on as they are.

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
    check_model(model, "summary")
    if values not in (None, True, False):
        raise TypeError(f"values must be True, False or None, got {short(values)}")
    given = input_size, batch_size, dtype, forward
    if values:
        result = _followed(model, *given, why="values were asked for")
    else:
        try:
            result = _followed(model, *given)
        except NeedsValues as error:
            if values is not None:
                raise
            result = _with_values(model, given, error)
    if result.not_counted:
        warnings.warn(
            f"the MACs of {', '.join(result.not_counted)} are not counted: no rule knows them",
            CostWarning,
            stacklevel=2,
        )
    return result


def check_model(model, what: str) -> None:
    """Raise unless it is a network."""
    if not isinstance(model, nn.Module):
        got = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise TypeError(f"{what} takes an nn.Module that has been built, got {got}")
    if "_modules" not in vars(model):
        raise CostError(f"{type(model).__name__} was not set up: call super().__init__() first")


def _followed(
    model, input_size, batch_size, dtype, forward, why="", training: bool | None = None, direct=True
) -> Summary:
    floating = isinstance(dtype, torch.dtype) and dtype.is_floating_point
    trace = Trace(model, ops, dtype if floating else None, bool(why), direct)
    args, named = arguments(trace, model, input_size, batch_size, dtype, forward)
    inputs = [*args, named] if args and named else named or args
    try:
        with trace.following(model, training) as double:
            output = double(*args, **named)
        if output is None:
            raise trace.error("the forward pass", "returns None: is its return missing?")
        if not trace.values:
            output = mapped(output, trace.seen)
            tensors = tensors_in(output)
            if not tensors:
                raise trace.error("the forward pass", f"returns {short(output)}, and no tensor")
            if not any(type(tensor) is ShapeTensor for tensor in tensors):  # as after vmap
                text = "does not come from the input: something that cannot be followed has lost it"
                raise trace.error("the output", text, NeedsValues)
    except Rearranged:
        return _followed(model, input_size, batch_size, dtype, forward, why, training, False)
    except Exception as error:
        raise _explained(error, model, trace, inputs) from (
            error.__cause__ if isinstance(error, CostError) else error
        )
    return Summary(model, trace, inputs, output, why=why)


def _with_values(model, given, error: NeedsValues) -> Summary:
    """The summary of a real run; where that fails too, the first error stands."""
    try:
        return _followed(model, *given, why=str(error))
    except CostError as second:
        error.args = (f"{error}; run with values, {second}",)
        if second.table:
            error.table = second.table
            error.__notes__ = second.__notes__
        raise error from second.__cause__


def _explained(error: Exception, model: nn.Module, trace: Trace, inputs) -> CostError:
    """The error in one sentence that names the layer, with the table up to it."""
    if not isinstance(error, CostError):
        frame = trace.failed or trace.frame
        where = f"{frame.label} '{frame.path}'" if frame.path else frame.label
        message = " ".join(str(error).split("\n")[0].split()).replace("ShapeTensor", "Tensor")
        given = re.search(r"invalid combination of arguments - got \((\w+)", message)
        if given:
            message = f"a {given[1]} stands where it takes a tensor"
        if type(error).__name__ == "InputSizeError":  # it says all
            error = CostError(message)
        else:
            message = f": {message}" if message else ""
            error = CostError(f"{where} cannot be followed: {type(error).__name__}{message}")
    if trace.ops and not error.table:
        error.table = str(Summary(model, trace, inputs, complete=False))
        error.add_note(f"\nUp to there:\n{error.table}")
    return error
