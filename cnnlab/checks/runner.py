"""The student's side of a check: run the entry on the questions and hand plain values back.

This runs in the process that holds the student's code, so nothing it reports is believed
without being judged: it can only carry answers.
"""

import contextlib
import copy
import io
import linecache
import sys
import traceback

from cnnlab.checks import wire

__all__ = ["answer", "answer_files"]


class _Silence(io.TextIOBase):
    """Takes any amount of printing and keeps none of it."""

    def write(self, text: str) -> int:
        return len(text)


def answer(kind: str, entry: str, questions: list, namespace: dict) -> dict:
    """Ask the notebook's ``entry`` every question.

    Parameters
    ----------
    questions : list of (args, kwargs)
    namespace : dict
        The notebook's global names.

    Returns
    -------
    dict
        ``status`` is ``"answered"`` (then ``answers`` has one dict a question),
        ``"missing"`` or ``"not callable"``.
    """
    if entry not in namespace:
        return {"status": "missing"}
    found = namespace[entry]
    if kind == "value":
        return {"status": "answered", "answers": [_packed(found)]}
    if not callable(found):
        return {"status": "not callable", "type": type(found).__name__}
    return {"status": "answered", "answers": [_call(found, *question) for question in questions]}


def _call(function, args: tuple, kwargs: dict) -> dict:
    before = wire.pack((args, kwargs))
    args, kwargs = copy.deepcopy((tuple(args), dict(kwargs)))
    silence = _Silence()
    try:
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            value = function(*args, **kwargs)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _error(error)
    result = _packed(value)
    after = wire.pack((args, kwargs))
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


def answer_files(
    kind: str, entry: str, questions_path: str, answers_path: str, namespace: dict
) -> None:
    """Like :func:`answer`, from one file to a new other one."""
    questions = wire.load(questions_path)
    report = answer(kind, entry, questions, namespace)
    try:
        wire.save(answers_path, report)
    except wire.WireError as error:
        wire.save(answers_path, {"status": "unusable", "message": str(error)})
