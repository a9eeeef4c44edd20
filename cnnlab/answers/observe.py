"""What an answer does, beside what it returns: how a module learns, and how a function works.

All of it runs on the student's side, like :mod:`cnnlab.answers.runner`, and is judged elsewhere.
"""

import contextlib
import sys
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["MODULE", "Refused", "Watch", "look_at_function", "look_at_module"]

# What is compared of a module beside its output; a task may leave some of it out.
MODULE = ("trainable", "gradients", "input gradient", "alone", "state")
_PROJECTIONS = 3
_HOME = str(Path(__file__).parent)
_CNNLAB = str(Path(__file__).parents[1])
_INSTALLED = (sys.prefix, sys.base_prefix, "<frozen ", _CNNLAB)


class Refused(Exception):
    """What an answer returned cannot be used; the message says why."""


@cache
def _weights(size: int, which: int) -> torch.Tensor:
    """Numbers between -1 and 1 without a pattern, the same on every machine."""
    return torch.cos((torch.arange(size, dtype=torch.float64) + 1 + which / 7) ** 2)


def _summary(tensor: torch.Tensor | None) -> list[float] | None:
    """A tensor in a few numbers: its norm, and its projections on fixed directions."""
    if tensor is None:
        return None
    flat = tensor.detach().double().flatten()
    projections = [(flat @ _weights(len(flat), k)).item() for k in range(_PROJECTIONS)]
    return [flat.norm().item(), *projections]


def _tensors(value) -> list[torch.Tensor]:
    """The floating-point tensors in a value, in order."""
    if isinstance(value, torch.Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, (list, tuple)) else []


def _gradients(output, sources: dict[str, torch.Tensor], changed_input: bool) -> dict:
    """The gradients of a fixed projection of the output, in summary; None where none arrives."""
    wanted = [s for s in sources.values() if s.requires_grad]
    try:
        total = [
            (t.double().flatten() @ _weights(t.numel(), k)).sum()
            for k, t in enumerate(_tensors(output))
            if t.requires_grad
        ]
        if not total or not wanted:
            return dict.fromkeys(sources)
        found = iter(torch.autograd.grad(sum(total), wanted, allow_unused=True))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        if changed_input:
            raise Refused("it changed its input: work on a copy") from None
        if "inplace" in reason or "in-place" in reason:
            reason = "a tensor that the backward pass needs was changed in place"
        raise Refused(f"the backward pass fails: {reason}") from None
    return {n: _summary(next(found)) if s.requires_grad else None for n, s in sources.items()}


def _with_gradients(value, sources: list):
    """The value with its tensors as results of others, which are listed in ``sources``."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        sources.append(value.clone().requires_grad_())
        return sources[-1].clone()
    if isinstance(value, (list, tuple)):
        return type(value)(_with_gradients(v, sources) for v in value)
    return value


def _called(function: Callable, arguments: tuple, kwargs: dict) -> tuple:
    """What a function returns, what its arguments are results of, and whether it changed them."""
    sources: list = []
    given = _with_gradients(arguments, sources)
    tensors = _tensors(given)
    value = function(*given, **kwargs)
    return value, sources, not all(map(torch.equal, sources, tensors))


def look_at_function(function: Callable, question: dict) -> dict:
    """What a function returns, and the gradients of its arguments."""
    value, sources, changed = _called(function, question["args"], question["kwargs"])
    arguments = {f"argument {i}": source for i, source in enumerate(sources, 1)}
    gradients = _gradients(value, arguments, changed)
    return {"output": value, "changed its input": changed, "gradients": gradients}


def look_at_module(build: Callable, question: dict) -> dict:
    """Build a module, give it the weights of the question, call it, and look at what it does.

    Raises
    ------
    Refused
        If it is no module, or its parameters have other names or shapes.
    """
    if isinstance(build, nn.Module):
        raise Refused("this is a module already: what is asked is the class that makes modules")
    module = build(*question["args"], **question["kwargs"])
    if not isinstance(module, nn.Module):
        raise Refused(f"expected an nn.Module, got an object of type {type(module).__name__}")
    state, asked, inputs = question["state"], question["compared"], question["inputs"]
    own, places = _own_state(module, state)
    fresh = {name: own[name].detach().clone() for name in question["initial"]}
    constant = [n for n, t in own.items() if t.ndim > 1 and (t == t.flatten()[0]).all()]
    trainable = {name: tensor.requires_grad for name, tensor in own.items()}
    _load(own, state)
    stages: dict = {}
    hooks = _listen(module, places, stages)
    value, sources, changed = _called(module.train(question["training"]), tuple(inputs), {})
    for hook in hooks:
        hook.remove()
    found = {"output": value, "initial": fresh, "constant": constant, "stages": stages}
    found["changed its input"] = changed
    if "trainable" in asked:
        found["trainable"] = trainable
    if "gradients" in asked:
        learning = {f"`{name}`": tensor for name, tensor in own.items()}
        if "input gradient" in asked:
            one = len(sources) == 1
            names = ["the input" if one else f"input {i}" for i, _ in enumerate(sources, 1)]
            learning |= zip(names, sources, strict=True)
        found["gradients"] = _gradients(value, learning, changed)
    with torch.no_grad():
        if "state" in asked:
            found["after one call"] = _buffers(own)
            module(*(x.clone() for x in inputs))
            found["after two calls"] = _buffers(own)
        if "alone" in asked and not question["training"]:
            _load(own, state)
            found["alone"] = module(*(x[:1].clone() for x in inputs))
    return found


def _own_state(module: nn.Module, state: dict) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The module's parameters and buffers by the names of ``state``, and the names they have in it.

    These are the same, or longer: the layer `stem` may be the only one with weights in a chain.
    """
    everything = dict(module.named_parameters(remove_duplicate=False))
    everything |= dict(module.named_buffers(remove_duplicate=False))
    places = {}
    for name in state:
        part, _, kind = name.rpartition(".")
        inside = [n for n in everything if n.startswith(f"{part}.") and n.endswith(f".{kind}")]
        if name not in everything and len({id(everything[n]) for n in inside}) != 1:
            raise Refused(_missing(module, name))
        places[name] = name if name in everything else inside[0]
    own = {name: everything[place] for name, place in places.items()}
    known: dict[int, str] = {}
    for name, tensor in own.items():
        if (other := known.setdefault(id(tensor), name)) != name:
            raise Refused(f"`{other}` and `{name}` are one and the same")
    for name, parameter in module.named_parameters():
        if id(parameter) not in known:
            raise Refused(f"the module has a parameter `{name}` that it should not have")
    for name, tensor in own.items():
        if tensor is None or tensor.shape != state[name].shape:
            shape = "none" if tensor is None else tuple(tensor.shape)
            raise Refused(f"`{name}`: expected shape {tuple(state[name].shape)}, got {shape}")
    return own, places


def _missing(module: nn.Module, name: str) -> str:
    """Why a parameter is not found."""
    holder = module
    for step in name.split(".")[:-1]:
        found = getattr(holder, step, None)
        if isinstance(found, (list, tuple, dict)) and not isinstance(found, nn.Module):
            return (
                f"`{step}` is a plain {type(found).__name__}, in which PyTorch sees no parameters: "
                "make it an nn.ModuleList"
            )
        holder = found
    if isinstance(getattr(holder, name.split(".")[-1], None), torch.Tensor):
        return f"`{name}` is a plain tensor: make it an nn.Parameter"
    return f"the module has no parameter `{name}`; keep the skeleton's names"


def _load(own: dict, state: dict) -> None:
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])


def _buffers(own: dict) -> dict:
    return {n: t.clone() for n, t in own.items() if not isinstance(t, nn.Parameter)}


def _listen(module: nn.Module, places: dict, stages: dict) -> list:
    """Hooks that note what reaches each named part and what leaves it, in the order of calls."""

    def note(name):
        def hook(_, inputs, output):
            came, left = _tensors(inputs), _tensors(output)
            if name not in stages and came and left:
                stages[name] = [_told(came[0]), _told(left[0])]

        return hook

    parts = {n.rpartition(".")[0]: p.rpartition(".")[0] for n, p in places.items() if "." in n}
    return [module.get_submodule(p).register_forward_hook(note(n)) for n, p in parts.items()]


def _told(tensor: torch.Tensor) -> dict:
    return {"shape": list(tensor.shape), "numbers": _summary(tensor)}


class _Names(TorchFunctionMode):
    """Notes PyTorch's functions by their Python names: some are several operators below it."""

    def __init__(self, called: set[str]):
        super().__init__()
        self.called = called

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.called.add(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


@cache
def _whose(filename: str) -> str:
    """Whose code comes from there; what a program wrote while it ran comes from no file."""
    if filename.startswith(_HOME):
        return "ours"
    if filename.startswith(_INSTALLED):
        return "a library's"
    return "nobody's" if filename.startswith("<") else "a student's"


class Watch(TorchDispatchMode):
    """Notes how an answer works: operators of PyTorch below their Python names, the functions that
    it calls, the steps of Python that it takes, and its largest intermediate result."""

    def __init__(self):
        super().__init__()
        self.called: set[str] = set()
        self.used: set = set()  # operators: to find the name of one takes longer than to use it
        self.steps = self.operators = self.largest = 0
        self.blinded = False
        self._names = _Names(self.called)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else PyTorch imports its compiler for the first answer, in a second

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operators += 1
        try:
            self.used.add(func)
            for t in (result,) if isinstance(result, torch.Tensor) else _tensors(result):
                if t.is_floating_point():
                    size = t.untyped_storage().nbytes() // t.element_size()
                    self.largest = max(self.largest, size)
        except Exception:
            pass  # a sparse tensor has no storage: noting must not fail
        return result

    def __enter__(self):
        self._before = sys.gettrace(), threading.gettrace()
        self._tracer = self._trace  # one object, to be known again
        threading.settrace(self._tracer)
        super().__enter__()
        self._names.__enter__()
        sys.settrace(self._tracer)
        return self

    def __exit__(self, *error):
        self.blinded = sys.gettrace() is not self._tracer
        sys.settrace(self._before[0])
        threading.settrace(self._before[1])
        self._names.__exit__(*error)
        return super().__exit__(*error)

    def _trace(self, frame, event, argument):
        whose = _whose(frame.f_code.co_filename)
        if whose == "ours":
            return None
        caller = _whose(frame.f_back.f_code.co_filename) if frame.f_back else ""
        made_by_library = (  # a module or a class that a library writes while it is imported
            whose == "nobody's"
            and caller in ("ours", "a library's")
            and frame.f_globals.get("__name__") != "__main__"
        )
        if whose != "a library's" and not made_by_library:
            self.steps += 1
            return self._line
        if caller != "a library's":
            self.called |= set(frame.f_code.co_qualname.split("."))
        return None

    def _line(self, frame, event, argument):
        self.steps += event == "line"
        return self._line

    def seen(self) -> dict:
        for operator in self.used:
            with contextlib.suppress(Exception):
                self.called.add(operator._schema.name)
        return {
            "called": sorted(self.called),
            "steps": self.steps,
            "operators": self.operators,
            "largest": self.largest,
            "blinded": self.blinded,
        }
