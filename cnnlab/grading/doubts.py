"""What a person should look at: an answer that may do what its task forbids, and was not seen to.

A doubt costs nothing. Source text is read for nothing else.
"""

import ast
import textwrap

from cnnlab.checks import Task

__all__ = ["definitions", "doubt"]

_LOOPS = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_HIDES = {"exec", "eval", "DisableTorchFunction", "settrace", "Thread", "fork", "subprocess"}


def doubt(task: Task, report: dict, tree: ast.AST | None) -> str:
    """Why an answer that was accepted should be looked at, or nothing.

    Parameters
    ----------
    report : dict
        What :func:`cnnlab.answers.answer` gave.
    tree : ast.AST or None
        The definition of the entry, where the notebook has one.
    """
    seen = [answer.get("seen") for answer in report["answers"]]
    if any(isinstance(s, dict) and s.get("blinded") for s in seen):
        return f"`{task.entry}` switched the observation of its steps off"
    nodes = list(ast.walk(tree)) if tree else []
    if "loop" in task.forbidden and any(isinstance(node, _LOOPS) for node in nodes):
        return f"`{task.entry}` has a loop in its source, and took no more steps for more pixels"
    used = {n.attr if isinstance(n, ast.Attribute) else getattr(n, "id", None) for n in nodes}
    if hidden := sorted(_HIDES & used):
        return f"`{task.entry}` uses `{hidden[0]}`, which can hide what this task forbids"
    return ""


def definitions(code: str) -> dict[str, ast.AST]:
    """The functions and classes that notebook code defines at its outermost level, by name."""
    try:
        tree = ast.parse(textwrap.dedent(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # too long or too deep
        return {}
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name: node for node in tree.body if isinstance(node, kinds)}
