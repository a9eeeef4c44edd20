"""The student's side of a check: run the entry on the questions and hand plain values back.

This runs in the process that holds the student's code, so nothing it reports is believed
without being judged: it can only carry answers.
"""

import contextlib
import copy
import io
import linecache
import os
import socket
import sys
import traceback
from collections.abc import Callable

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from cnnlab.checks import wire

__all__ = ["answer", "answer_mail", "run_module"]


class Refused(Exception):
    """What an answer returned cannot be used; the message says why."""


class _Silence(io.TextIOBase):
    """Takes any amount of printing and keeps none of it."""

    def write(self, text: str) -> int:
        return len(text)


def answer(kind: str, entry: str, questions: list, namespace: dict) -> dict:
    """Ask the notebook's ``entry`` every question.

    Parameters
    ----------
    questions : list of dict
        As :meth:`cnnlab.checks.task.Case.question` gives them.
    namespace : dict
        The notebook's global names.

    Returns
    -------
    dict
        ``status`` is ``"answered"`` (then ``answers`` has one dict a question, and ``called``
        the names of torch's functions that ran), ``"missing"`` or ``"not callable"``.
    """
    if entry not in namespace:
        return {"status": "missing"}
    found = namespace[entry]
    if kind in ("value", "source"):
        return {"status": "answered", "answers": [_packed(found)]}
    if not callable(found):
        return {"status": "not callable", "type": type(found).__name__}
    ask = run_module if kind == "module" else _run_function
    with _Watch() as watch:
        answers = [_call(ask, found, question) for question in questions]
    return {"status": "answered", "answers": answers, "called": sorted(watch.called)}


_METHODS = (type(torch.Tensor.mul), type(torch.Tensor.__getitem__), type(object.__str__))


class _Watch(TorchFunctionMode):
    """Notes which of torch's functions are called, under whatever name."""

    def __init__(self):
        super().__init__()
        self.called: set[str] = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if not isinstance(func, _METHODS):  # `2 * x` is no call of `torch.mul`
            self.called.add(getattr(func, "__name__", "").split(".")[0])
        return func(*args, **(kwargs or {}))


def _run_function(function: Callable, question: dict):
    return function(*question["args"], **question["kwargs"])


def run_module(build: Callable, question: dict):
    """Build a module, give it the weights of the question, and call it on the inputs.

    Raises
    ------
    Refused
        If it is no module, or its parameters have other names or shapes.
    """
    module = build(*question["args"], **question["kwargs"])
    if not isinstance(module, nn.Module):
        raise Refused(f"expected an nn.Module, got an object of type {type(module).__name__}")
    state = question["state"]
    own = {name: t for name, t in module.state_dict().items() if t.is_floating_point()}
    if missing := [name for name in state if name not in own]:
        raise Refused(f"the module has no parameter `{missing[0]}`; keep the skeleton's names")
    if extra := [name for name in own if name not in state]:
        raise Refused(f"the module has a parameter `{extra[0]}` that it should not have")
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            shapes = f"{tuple(state[name].shape)}, got {tuple(tensor.shape)}"
            raise Refused(f"`{name}`: expected shape {shapes}")
    module.load_state_dict(state, strict=False)
    with torch.no_grad():
        return module.train(question["training"])(*question["inputs"])


def _call(ask: Callable, found: Callable, question: dict) -> dict:
    before = wire.pack(question)
    question = copy.deepcopy(question)
    silence = _Silence()
    try:
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            value = ask(found, question)
    except KeyboardInterrupt:
        raise
    except Refused as error:
        return {"status": "error", "type": "", "message": str(error), "line": ""}
    except BaseException as error:
        return _error(error)
    result = _packed(value)
    after = wire.pack(question)
    result["mutated"] = any(
        before[name].shape != after[name].shape or before[name].tobytes() != after[name].tobytes()
        for name in before
    )
    return result


def _packed(value) -> dict:
    try:
        wire.pack(value)
    except Exception as error:
        return {"status": "error", "type": "", "message": str(error), "line": ""}
    return {"status": "ok", "value": value, "mutated": False}


def _error(error: BaseException) -> dict:
    """What was raised, and the line of the student's own code that raised it."""
    here = __file__
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != here]
    own = [f for f in frames if not f.filename.startswith((sys.prefix, sys.base_prefix))]
    line = linecache.getline(own[-1].filename, own[-1].lineno).strip() if own else ""
    try:
        message = str(error)
    except Exception:
        message = ""
    return {
        "status": "error",
        "type": type(error).__name__[:80],
        "message": message[:300],
        "line": line[:120],
    }


mailbox = -1  # while grading: the socket over which questions come


def letter() -> tuple[int, int]:
    """The files of the questions and of the answers to them that lie in the ``mailbox``."""
    with socket.socket(fileno=os.dup(mailbox)) as mail:
        _, (questions, answers), *_ = socket.recv_fds(mail, 1, 2)
    return questions, answers


def answer_mail(kind: str, entry: str) -> None:
    """In a kernel: like :func:`answer`, from and to the files in the ``mailbox``."""
    from IPython import get_ipython

    questions, answers = letter()
    report = answer(kind, entry, wire.load(questions), get_ipython().user_ns)
    try:
        wire.save(answers, report)
    except wire.WireError as error:
        wire.save(answers, {"status": "unusable", "message": str(error)})
