"""Bytes that a forward pass needs, and a training step."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

# What autograd keeps for the backward pass, by operation (PyTorch's derivatives.yaml). An operation
# that is not listed keeps its inputs, which is an upper bound.
_OUTPUT = {
    "relu", "sigmoid", "tanh", "softmax", "log_softmax", "softmin", "exp", "sqrt", "rsqrt",
    "reciprocal",
}  # fmt: skip
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
        for tensor in (*op.inputs, *op.outputs):
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


def kept(ops: Sequence) -> int:
    """Bytes of activations that autograd keeps for the backward pass."""
    storages: dict[int, int] = {}
    extra = 0
    needing = set()  # tensors that need a gradient

    def keep(*tensors):
        for tensor in tensors:
            if tensor.base.origin is None:
                storages[id(tensor.base)] = size_of(tensor.base)

    for op in ops:
        inputs_need = any(id(tensor.base) in needing for tensor in op.inputs)
        if not (inputs_need or op.trains):
            continue
        needing.update(id(tensor.base) for tensor in op.outputs)
        label = op.type.lower()
        if op.kind in ("conv", "linear"):
            if op.trains:
                keep(*op.inputs)
        elif op.kind == "view" or label in _NOTHING:
            pass
        elif op.kind == "pool":
            keep(*op.inputs)
            if "max" in label:  # the place of each maximum, as int64
                extra += prod(op.outputs[0].shape) * 8
        elif label.startswith(("dropout", "feature_dropout")):
            extra += prod(op.outputs[0].shape)  # one byte a mask element
        elif label.startswith(("batch_norm", "batchnorm")):
            keep(*op.inputs)
            extra += 2 * op.outputs[0].shape[1] * 4  # mean and inverse deviation of each channel
        elif label in _OUTPUT:
            keep(*op.outputs)
        else:
            keep(*op.inputs)
    return sum(storages.values()) + extra
