"""What all networks share: a plain sentence when an input is too small."""

import copy
from types import FunctionType

import torch
from torch import Tensor, nn

__all__ = ["InputSizeError", "Network", "smallest_input"]


class InputSizeError(ValueError):
    """The input has a size or a shape that the network can't take."""


class Network(nn.Module):
    """Base class of all networks here: a `torch.nn.Module` that explains what it can't take.

    Attributes
    ----------
    input_size : tuple of int
        The ``(C, H, W)`` that the paper uses.
    """

    input_size = (3, 224, 224)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        # torch.compile keeps what it compiled, and its limit on how much, with the code object
        # that it enters: each class gets its own, as if it had written __call__ itself.
        call = Network.__call__
        code = call.__code__.replace(co_qualname=f"{cls.__qualname__}.__call__")
        cls.__call__ = FunctionType(code, call.__globals__, "__call__", None, call.__closure__)

    def __call__(self, x: Tensor):
        if torch.compiler.is_compiling():
            return super().__call__(x)
        try:
            return super().__call__(x)
        except InputSizeError:
            raise
        except (RuntimeError, ValueError):
            reason = _why_not(self, x) if isinstance(x, Tensor) else None
            if reason is None:  # something else went wrong: memory, types, devices
                raise
            raise InputSizeError(reason) from None


def smallest_input(network: Network, batch_size: int = 2) -> int:
    """Side of the smallest square image that the network takes, in the mode it is in.

    Computes nothing: a twin on the meta device is tried with sizes up to ``input_size``.

    Raises
    ------
    ValueError
        If not even ``input_size`` works.
    """
    return _smallest(_meta_twin(network), batch_size)


def _smallest(twin: Network, batch_size: int) -> int:
    works = twin.input_size[1]
    if _failing_layer(twin, (batch_size, *twin.input_size)) is not None:
        raise ValueError(f"{type(twin).__name__} does not take its own input_size {works}×{works}")
    fails = 0
    while works - fails > 1:
        side = (works + fails) // 2
        if _failing_layer(twin, (batch_size, twin.input_size[0], side, side)) is None:
            works = side
        else:
            fails = side
    return works


def _meta_twin(network: Network) -> Network:
    """A copy whose tensors have shapes and no data, so that trying a size costs next to nothing."""
    tensors = [*network.parameters(), *network.buffers()]
    memo = {id(t): nn.Parameter(t.to("meta")) if t.requires_grad else t.to("meta") for t in tensors}
    twin = copy.deepcopy(network, memo)
    twin.input_size = (_in_channels(network), *network.input_size[1:])
    for module in twin.modules():  # the user's hooks must not see this
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return twin


def _in_channels(network: Network) -> int:
    return next(m.in_channels for m in network.modules() if isinstance(m, nn.Conv2d))


def _failing_layer(twin: Network, shape) -> tuple[str, nn.Module, torch.Size] | None:
    """Name, module and input shape of the innermost layer that refuses, None if all is well."""
    entered = []

    def enter(name):
        def hook(module, args):
            x = args[0] if isinstance(args[0], Tensor) else args[0][0]
            entered.append((name, module, x.shape))

        return hook

    hooks = []
    for name, module in twin.named_modules():
        if name:
            hooks += [
                module.register_forward_pre_hook(enter(name)),
                module.register_forward_hook(lambda *_: entered.pop() and None),
            ]
    dtype = next(twin.parameters()).dtype
    try:
        with torch.no_grad():
            twin.forward(torch.empty(shape, dtype=dtype, device="meta"))
    except (RuntimeError, ValueError):
        return entered[-1] if entered else ("", twin, torch.Size(shape))
    finally:
        for hook in hooks:
            hook.remove()


def _why_not(network: Network, x: Tensor) -> str | None:
    """One sentence on why the network refuses this shape; None if the shape is not the reason."""
    name, channels = type(network).__name__, _in_channels(network)
    if x.ndim != 4:
        return (
            f"{name} takes a batch of images (N, {channels}, H, W), got a tensor of shape "
            f"{tuple(x.shape)}"
        )
    if x.shape[1] != channels:
        return f"{name} takes images of {channels} channels, got {x.shape[1]} in {tuple(x.shape)}"
    twin = _meta_twin(network)
    failing = _failing_layer(twin, x.shape)
    if failing is None:
        return None
    layer, module, got = failing
    side = _smallest(twin, x.shape[0])
    larger = (x.shape[0], channels, 2 * side, 2 * side)
    if min(x.shape[2:]) < side and _failing_layer(twin, larger) is None:
        wants = f"{name} takes images of at least {side}×{side}"
    else:
        height, width = twin.input_size[1:]
        wants = f"{name} takes images of {height}×{width}"
    size = "×".join(str(n) for n in got[2:]) if len(got) == 4 else f"{got[-1]} features"
    reason = f"{layer} ({type(module).__name__}) got {size} from an input of "
    return f"{wants}: {reason}{x.shape[2]}×{x.shape[3]}"
