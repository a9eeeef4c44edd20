"""The student's side of a check: run the entry on the questions and hand plain values back.

This runs in the process that holds the student's code, so nothing it reports is believed
without being judged: it can only carry answers.
"""

import contextlib
import io
import linecache
import os
import sys
import traceback
from collections.abc import Callable

from cnnlab.answers import wire
from cnnlab.answers.networks import told
from cnnlab.answers.observe import Refused, Watch, look_at_function, look_at_module

__all__ = ["ALONE", "answer", "ask"]


NOTHING = {"args": (), "kwargs": {}}
ALONE = 12  # so many of the images to be classified are asked once more, one at a time


class _Silence(io.TextIOBase):
    """Takes any amount of printing and keeps none of it."""

    def write(self, text: str) -> int:
        return len(text)


def answer(kind: str, entry: str, questions: list, namespace: dict) -> dict:
    """Ask the notebook's ``entry`` every question.

    Parameters
    ----------
    questions : list of dict
        As :meth:`cnnlab.checks.Case.question` gives them.
    namespace : dict
        The notebook's global names.

    Returns
    -------
    dict
        ``status`` is ``"answered"`` (then ``answers`` has one dict a question), ``"missing"`` or
        ``"not callable"``.
    """
    if entry not in namespace:
        return {"status": "missing"}
    found = namespace[entry]
    if kind in ("value", "source"):
        return {"status": "answered", "answers": [_packed(found)]}
    if kind == "weights":
        return {"status": "answered", "answers": [_call(lambda: told(found), NOTHING)]}
    if not callable(found):
        return {"status": "not callable", "type": type(found).__name__}
    answers = [_call(found, question) for question in questions]
    if kind == "predictions" and answers and answers[0]["status"] == "ok":
        images = questions[0]["args"][0]
        singles = [{"args": (images[i : i + 1],), "kwargs": {}} for i in range(ALONE)]
        answers[0]["alone"] = [_call(found, single).get("value") for single in singles]
    return {"status": "answered", "answers": answers}


def ask(entry: Callable, question: dict):
    """What an entry says to a question, and what it does, where the question wants to know that."""
    if "state" in question:
        return look_at_module(entry, question)
    if "gradients" in question.get("compared", ()):
        return look_at_function(entry, question)
    return entry(*question["args"], **question["kwargs"])


def _call(found: Callable, question: dict) -> dict:
    watch = Watch() if question.get("watch") else contextlib.nullcontext()
    result = _answered(found, question, watch)
    return {**result, "seen": watch.seen()} if question.get("watch") else result


def _answered(found: Callable, question: dict, watch) -> dict:
    before = wire.pack(question)
    question = wire.unpack(*before)
    silence = _Silence()
    try:
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence), watch:
            value = ask(found, question)
    except KeyboardInterrupt:
        raise
    except Refused as error:
        return {"status": "error", "type": "", "message": str(error), "line": ""}
    except BaseException as error:
        return _error(error)
    result = _packed(value)
    result["mutated"] = wire.pack(question) != before
    return result


def _packed(value) -> dict:
    try:
        wire.pack(value)
    except Exception as error:
        return {"status": "error", "type": "", "message": str(error), "line": ""}
    attached = getattr(value, "requires_grad", False) is True
    return {"status": "ok", "value": value, "mutated": False, "requires_grad": attached}


def _error(error: BaseException) -> dict:
    """What was raised, and the line of the student's own code that raised it."""
    here = os.path.dirname(__file__)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if here not in f.filename]
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
        "raised by": own[-1].name if own and own[-1] is frames[-1] else "",
    }
