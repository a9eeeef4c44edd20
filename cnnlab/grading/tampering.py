"""Signs that a notebook tries to deceive its grader: evidence for a human, never a verdict."""

import ast
import builtins
import cProfile
import os
import sys

from cnnlab.answers import mailbox, runner, wire

__all__ = ["probe", "read", "signs", "tell"]

# What has no business in an answer, by the last name that the source uses.
SUSPICIOUS = {
    "ast_transformers": "changes how IPython reads cells",
    "input_transformers_cleanup": "changes how IPython reads cells",
    "input_transformers_post": "changes how IPython reads cells",
    "do_execute": "replaces the kernel's execution",
    "run_cell": "replaces or calls IPython's own execution",
    "set_custom_exc": "swallows errors",
    "showtraceback": "hides errors",
    "answer_mail": "touches the grader's side of the kernel",
    "get_task": "looks for the tasks' answers",
    "load_tasks": "looks for the tasks' answers",
    "gradebook": "looks for the gradebook",
    "get_objects": "searches the process's memory",
    "get_referrers": "searches the process's memory",
    "_getframe": "looks at its caller",
    "currentframe": "looks at its caller",
    "settrace": "traces other code",
    "setprofile": "traces other code",
    "ctypes": "goes around Python",
    "fork": "starts processes",
    "_exit": "ends the kernel",
    "nbgrader": "uses the grader's package",
    "NBGRADER_EXECUTION": "asks whether it is being graded",
    "gradebook.db": "looks for the gradebook",
}
LIBRARIES = ("torch", "np", "numpy", "cnnlab")
EQUALITY = {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"}


def signs(source: str) -> list[str]:
    """What in a cell's source a human should look at."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    own = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for node in ast.walk(tree):
        for name in _names(node):
            if name in SUSPICIOUS:
                found.append(f"`{name}` {SUSPICIOUS[name]}")
        if isinstance(node, ast.FunctionDef) and node.name in EQUALITY and _is_blind(node):
            found.append(f"defines `{node.name}`: does it compare honestly?")
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in targets:
            if isinstance(target, ast.Name) and target.id in EQUALITY and _is_blind(node.value):
                found.append(f"defines `{target.id}`: does it compare honestly?")
            old_name = isinstance(node.value, ast.Name) and hasattr(builtins, node.value.id)
            if isinstance(target, ast.Attribute) and _is_function(target) and not old_name:
                found.append(f"replaces `{ast.unparse(target)}`")
        if isinstance(node, ast.Subscript) and _root(node.value) in {"In", "_ih", "_i"} - own:
            found.append(f"reads the history of cells (`{ast.unparse(node)[:60]}`)")
    return list(dict.fromkeys(found))[:10]


def _is_blind(comparison: ast.AST) -> bool:
    """Whether a comparison says the same whatever it compares."""
    body = getattr(comparison, "body", None)
    said = body[-1].value if isinstance(body, list) and isinstance(body[-1], ast.Return) else body
    return isinstance(said, ast.Constant)


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        module = [getattr(node, "module", None) or ""]
        return [part for n in (*module, *(a.name for a in node.names)) for part in n.split(".")]
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value != "fork":
        return [node.value]  # "fork" is a context of multiprocessing's
    return []


def _is_function(target: ast.Attribute) -> bool:
    """Whether a place in torch, NumPy or this package holds a function: no setting, no new name."""
    root, *names = ast.unparse(target).split(".")
    found = sys.modules.get({"np": "numpy"}.get(root, root)) if root in LIBRARIES else None
    for name in names:
        found = getattr(found, name, None)
    return callable(found)


def _root(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


# --- in the student's kernel ---


def _watched() -> dict[str, object]:
    """Functions that an honest notebook leaves as they are."""
    import numpy
    import torch
    from ipykernel.ipkernel import IPythonKernel
    from IPython.core.interactiveshell import InteractiveShell
    from jupyter_client.session import Session

    places = {
        "torch": (torch, ("allclose", "equal", "isclose", "tensor")),
        "torch.Tensor": (torch.Tensor, ("__eq__", "__sub__", "numpy")),
        "numpy": (numpy, ("allclose", "array_equal")),
        "wire": (wire, ("send", "receive", "pack")),
        "runner": (runner, ("answer",)),
        "mailbox": (mailbox, ("answer_mail",)),
        "InteractiveShell": (InteractiveShell, ("run_cell", "run_cell_async", "showtraceback")),
        "IPythonKernel": (IPythonKernel, ("do_execute", "execute_request")),
        "Session": (Session, ("send",)),
        "builtins": (builtins, ("AssertionError", "compile", "eval", "exec", "len", "type")),
    }
    return {
        f"{place}.{name}": getattr(owner, name, None)
        for place, (owner, names) in places.items()
        for name in names
    }


_before: dict[str, object] = {}


def remember() -> None:
    """Called before any code of a student's runs."""
    _before.update(_watched())


def changed() -> list[str]:
    """What of the process is not as it was."""
    found = [
        f"`{name}` was replaced" for name, old in _watched().items() if old is not _before[name]
    ]
    shell = sys.modules["IPython"].get_ipython()
    shell.InteractiveTB.set_mode("Minimal")  # the error to come need not be explained
    kernel = shell.kernel
    for owner, name in ((kernel, "do_execute"), (kernel.session, "send"), (shell, "run_cell")):
        if name in vars(owner):
            found.append(f"`{type(owner).__name__}.{name}` was replaced")
    if shell.ast_transformers or len(shell.input_transformers_post) > 0:
        found.append("IPython's reading of cells was changed")
    if shell.custom_exceptions:
        found.append("errors are swallowed (`set_custom_exc`)")
    hooks = [h for event in shell.events.callbacks.values() for h in event]
    own = [h for h in hooks if not str(getattr(h, "__module__", "")).startswith(_OWN)]
    found += [f"`{getattr(h, '__name__', h)}` runs before or after every cell" for h in own]
    if sys.gettrace() or not isinstance(sys.getprofile(), cProfile.Profile | None):
        found.append("a trace function is set")
    return found


_OWN = ("IPython", "ipykernel", "matplotlib", "comm")


def probe(nonce: str) -> str:
    """Code whose answer and outputs `read` understands: what was changed, and a sure error.

    It uses no name of the notebook's, which may be called ``print`` or ``globals``.
    """
    return f"__import__('cnnlab.grading.tampering', fromlist=['tell']).tell({nonce!r})"


def tell(nonce: str) -> None:
    """In the kernel: answer with what was changed, then raise an error."""
    questions, answers = mailbox.letter()
    os.close(questions)
    wire.send(answers, changed())
    raise AssertionError(nonce)


def read(told: object, outputs: list, nonce: str) -> list[str]:
    """What a probe's answer and outputs say about the kernel; nothing where it gave no answer."""
    if not isinstance(told, list):
        return []
    found = [str(sentence)[:200] for sentence in told[:20]]
    errors = [o for o in outputs if o.output_type == "error"]
    if not any(nonce in error.evalue for error in errors):
        found.append("the kernel does not report an error that was raised")
    if any(o.output_type not in ("stream", "error") for o in outputs):
        found.append("the kernel shows results that nobody computed")
    return found
