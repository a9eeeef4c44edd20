"""Bytes that a forward pass needs, and a training step."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from cnnlab.cost.trace import traced

# What autograd keeps for the backward pass, by operation (PyTorch's derivatives.yaml). An operation
# that is not listed keeps its inputs, which is an upper bound.
_OUTPUT = {
    "relu", "sigmoid", "tanh", "softmax", "log_softmax", "softmin", "exp", "sqrt", "rsqrt",
    "reciprocal",
}  # fmt: skip
_OUTPUT_IN_PLACE = {"leakyrelu", "leaky_relu", "elu", "celu"}  # else their input
_NOTHING = {
    "add", "sub", "rsub", "concat", "cat", "mean", "sum", "pad", "interpolate", "pixel_shuffle",
    "clone", "contiguous", "reshape", "to", "float", "half", "double", "flip", "roll", "stack",
    "neg", "getitem", "repeat", "masked_fill", "zeros_like", "ones_like",
}  # fmt: skip
OPTIMIZERS = {"sgd": 0, "momentum": 1, "adam": 2}  # numbers kept for each trained parameter


def size_of(tensor) -> int:
    """Bytes of a tensor's elements."""
    return prod(tensor.shape) * tensor.dtype.itemsize


def peak(inputs: Sequence, ops: Sequence) -> int:
    """Most bytes of activations alive at once when nothing is kept for a backward pass."""
    last = {}
    for index, op in enumerate(ops):
        for tensor in (*traced(op), *op.outputs):
            last[id(tensor.base)] = index
    for tensor in ops[-1].outputs if ops else ():
        last[id(tensor.base)] = len(ops)
    alive = {id(tensor): size_of(tensor) for tensor in inputs}
    most = sum(alive.values())
    for index, op in enumerate(ops):
        for tensor in op.outputs:
            if tensor.base.origin is None:
                alive[id(tensor.base)] = size_of(tensor.base)
        most = max(most, sum(alive.values()))
        for key in [key for key in alive if last.get(key, index) <= index]:
            del alive[key]
    return most


def kept(inputs: Sequence, ops: Sequence) -> int:
    """Bytes of inputs and of activations that autograd keeps for the backward pass."""
    storages = {id(tensor): size_of(tensor) for tensor in inputs}
    extra = 0
    needing = set()  # tensors that need a gradient

    def keep(*tensors):
        for tensor in tensors:
            if tensor.base.origin is None:
                storages[id(tensor.base)] = size_of(tensor.base)

    for op in ops:
        inputs_need = any(id(tensor.base) in needing for tensor in traced(op))
        if not (inputs_need or op.trains):
            continue
        needing.update(id(tensor.base) for tensor in op.outputs)
        label = op.label.lower()
        if op.kind in ("conv", "linear"):
            if op.trains:
                keep(*traced(op))
        elif op.kind == "view" or label in _NOTHING:
            pass
        elif op.kind == "pool":
            if not _is_mean(op):
                keep(*traced(op))
            if "max" in label:  # the place of each maximum, as int64
                extra += prod(op.outputs[0].shape) * 8
        elif label.startswith(("dropout", "feature_dropout")):
            extra += prod(op.outputs[0].shape)  # one byte a mask element
        elif label.startswith(("batch_norm", "batchnorm")):
            keep(*traced(op))
            extra += 2 * op.outputs[0].shape[1] * 4  # mean and inverse deviation of each channel
        elif label in _OUTPUT or (label in _OUTPUT_IN_PLACE and not op.fresh):
            keep(*op.outputs)
        elif op.fresh:
            keep(*traced(op))
        else:  # in place, and the backward pass needs what was there: autograd copies it
            extra += sum(size_of(tensor) for tensor in traced(op)[:1])
    return sum(storages.values()) + extra


def _is_mean(op) -> bool:
    """Whether torch runs this pooling layer as a mean over all positions."""
    return (
        "adaptive" in op.label.lower()
        and "avg" in op.label.lower()
        and (set(op.outputs[0].shape[2:]) == {1})
    )
