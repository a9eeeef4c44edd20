"""Signs that a notebook tries to deceive its grader: evidence for a human, never a verdict."""

import ast
import builtins
import json
import sys

__all__ = ["probe", "read", "signs"]

# What has no business in an answer, by the last name that the source uses.
SUSPICIOUS = {
    "ast_transformers": "changes how IPython reads cells",
    "input_transformers_cleanup": "changes how IPython reads cells",
    "input_transformers_post": "changes how IPython reads cells",
    "do_execute": "replaces the kernel's execution",
    "run_cell": "replaces or calls IPython's own execution",
    "set_custom_exc": "swallows errors",
    "showtraceback": "hides errors",
    "answer_files": "touches the grader's side of the kernel",
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
    "socket": "opens network connections",
    "urlopen": "opens network connections",
    "requests": "opens network connections",
    "subprocess": "starts processes",
    "Popen": "starts processes",
    "system": "starts processes",
    "fork": "starts processes",
    "_exit": "ends the kernel",
    "nbgrader": "uses the grader's package",
    "NBGRADER_EXECUTION": "asks whether it is being graded",
    "gradebook.db": "looks for the gradebook",
    "Thread": "runs threads beside the answers",
}
EQUALITY = {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"}


def signs(source: str) -> list[str]:
    """What in a cell's source a human should look at."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    for node in ast.walk(tree):
        for name in _names(node):
            if name in SUSPICIOUS:
                found.append(f"`{name}` {SUSPICIOUS[name]}")
        if isinstance(node, ast.FunctionDef) and node.name in EQUALITY:
            found.append(f"defines `{node.name}`: does it compare honestly?")
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in targets:
            if isinstance(target, ast.Name) and target.id in EQUALITY:
                found.append(f"defines `{target.id}`: does it compare honestly?")
            if isinstance(target, ast.Attribute) and _root(target) in ("torch", "np", "cnnlab"):
                found.append(f"replaces `{ast.unparse(target)}`")
        if isinstance(node, ast.Subscript) and _root(node.value) in ("In", "_ih", "_i"):
            found.append(f"reads the history of cells (`{ast.unparse(node)[:60]}`)")
    return list(dict.fromkeys(found))[:10]


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        module = [getattr(node, "module", None) or ""]
        return [part for n in (*module, *(a.name for a in node.names)) for part in n.split(".")]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    return []


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

    from cnnlab.checks import runner, wire

    places = {
        "torch": (torch, ("allclose", "equal", "isclose", "tensor")),
        "torch.Tensor": (torch.Tensor, ("__eq__", "__sub__", "numpy")),
        "numpy": (numpy, ("allclose", "array_equal", "savez")),
        "wire": (wire, ("save", "load", "pack")),
        "runner": (runner, ("answer", "answer_files")),
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
    if sys.gettrace() or sys.getprofile():
        found.append("a trace function is set")
    return found


_OWN = ("IPython", "ipykernel", "matplotlib", "comm")


def probe(nonce: str) -> str:
    """Code whose outputs `read` understands: an echo, what was changed, and a sure error."""
    return (
        "import json as _j, cnnlab.grading.tampering as _t\n"
        f"print('{nonce}' + _j.dumps(_t.changed()))\n"
        f"raise AssertionError('{nonce}')"
    )


def read(outputs: list, nonce: str) -> list[str]:
    """What a probe's outputs say about the kernel."""
    printed = "".join(o.get("text", "") for o in outputs if o.output_type == "stream")
    errors = [o for o in outputs if o.output_type == "error"]
    found = []
    if len(errors) != 1 or nonce not in errors[0].evalue:
        found.append("the kernel does not report an error that was raised")
    if any(o.output_type not in ("stream", "error") for o in outputs):
        found.append("the kernel shows results that nobody computed")
    try:
        told = json.loads(printed.split(nonce, 1)[1])
        return found + [str(sentence)[:200] for sentence in told][:20]
    except (IndexError, ValueError, TypeError):
        return [*found, "the kernel does not print what it was asked to print"]
