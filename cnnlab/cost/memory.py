"""Bytes that a forward pass needs, and a training step; MACs of the way back."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

OPTIMIZERS = {"sgd": 0, "momentum": 1, "adam": 2}  # numbers kept for each trained parameter


def peak(inputs: Sequence, ops: Sequence) -> int:
    """Most bytes of activations alive at once when nothing is kept for a backward pass."""
    last = {}
    for index, op in enumerate(ops):
        for node in (*op.inputs, *op.outputs):
            last[id(node.root)] = index
    for node in ops[-1].outputs if ops else ():
        last[id(node.root)] = len(ops)
    ends: dict[int, list] = {}
    for key, index in last.items():
        ends.setdefault(index, []).append(key)
    alive = {id(node): node.nbytes for node in inputs}
    now = most = sum(alive.values())
    for key in list(alive):
        if key not in last:
            now -= alive.pop(key)
    for index, op in enumerate(ops):
        for node in op.outputs:
            if node.root.number is None and id(node.root) not in alive:
                alive[id(node.root)] = node.root.nbytes
                now += node.root.nbytes
        most = max(most, now)
        for key in ends.get(index, ()):
            now -= alive.pop(key, 0)
    return most


def kept(inputs: Sequence, ops: Sequence) -> int:
    """Bytes of inputs and of activations that autograd keeps for the backward pass.

    By operation (PyTorch's derivatives.yaml): what its record says. An operation that nobody
    described keeps its inputs, which is an upper bound.
    """
    storages = {id(node): node.nbytes for node in inputs}
    extra = 0

    def keep(nodes):
        for node in nodes:
            storages[id(node.root)] = node.root.nbytes

    for op, need, trains in _needing(ops):
        keeps, output = op.record.keeps, op.outputs[0]
        size = prod(output.shape)
        if keeps == "nothing":
            continue
        if keeps == "weight":
            if trains:
                keep(op.inputs)
        elif keeps == "max":  # and the place of each maximum, as int64
            keep(op.inputs)
            extra += size * 8
        elif keeps == "mean":  # a mean over all positions, unless its windows are smaller
            if set(output.shape[2:]) != {1}:
                keep(op.inputs)
        elif keeps == "mask":
            extra += size  # one byte an element
        elif keeps == "batch norm":  # and mean and inverse deviation of each channel
            keep(op.inputs)
            extra += 2 * output.shape[1] * 4
        elif keeps == "layer norm":  # and the two of each normalized vector
            keep(op.inputs)
            extra += 2 * 4 * size // prod(output.shape[-op.geometry.dims :])
        elif keeps == "product":  # each factor whose partner needs a gradient
            factors = len(op.inputs)
            keep(
                node
                for place, node in enumerate(op.inputs)
                if trains or any(need[:place] + need[place + 1 :]) or (factors == 1 and op.held)
            )
        elif keeps == "attention":  # and a sum of exponentials for each query
            keep([*op.inputs[:3], output])
            extra += 4 * size // output.shape[-1]
        elif keeps == "output" or (keeps == "output in place" and not op.fresh):
            keep(op.outputs)
        elif op.fresh:
            keep(op.inputs)
        else:  # in place, and the backward pass needs what was there: autograd copies it
            extra += sum(node.nbytes for node in op.inputs[:1])
    return sum(storages.values()) + extra


def backward_macs(ops: Sequence) -> int:
    """MACs of the backward pass: one product for each factor that needs a gradient."""
    total = 0
    for op, need, trains in _needing(ops):
        if op.record.kind in ("conv", "linear", "matmul"):
            total += op.macs * (sum(need) + trains)
    return total


def _needing(ops: Sequence):
    """Operations that are on the way back, which inputs need a gradient, and whether weights do."""
    needing = set()
    for op in ops:
        need = [id(node.root) in needing for node in op.inputs]
        trains = any(held.trained for held in op.held)
        if any(need) or trains:
            needing.update(id(node.root) for node in op.outputs if node.dtype.is_floating_point)
            yield op, need, trains
