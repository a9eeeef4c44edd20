"""What the source of an answer must not do: static analysis of the student's own code."""

import ast
import textwrap
from collections.abc import Callable

__all__ = ["definitions", "violation"]

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_LOOPS = (ast.For, ast.AsyncFor, ast.While, *_COMPREHENSIONS)


def definitions(code: str) -> dict[str, ast.AST]:
    """What notebook code defines or imports under another name, by name; the last one wins."""
    try:
        tree = ast.parse(textwrap.dedent(code))
    except (SyntaxError, ValueError):
        return {}
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = {node.name: node for node in ast.walk(tree) if isinstance(node, kinds)}
    for node in ast.walk(tree):
        another_name = isinstance(node, ast.Assign) and (
            isinstance(node.value, (ast.Lambda, ast.Attribute))
            or (isinstance(node.value, ast.Name) and node in tree.body)
        )
        if another_name:
            found |= {t.id: node.value for t in node.targets if isinstance(t, ast.Name)}
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname: alias for alias in node.names if alias.asname}
    return found


def violation(
    entry: str, forbidden: tuple[str, ...], look_up: Callable[[str], ast.AST | None]
) -> str | None:
    """The first thing that ``entry``, or a function of the notebook that it uses, must not do.

    Parameters
    ----------
    look_up : callable
        Gives the syntax tree of a name that the notebook defines, or None.
    """
    todo, seen = [entry], set()
    while todo:
        name = todo.pop()
        if name in seen or (tree := look_up(name)) is None:
            continue
        seen.add(name)
        variables = _variables(tree)
        for node in ast.walk(tree):
            if "loop" in forbidden and isinstance(node, _LOOPS):
                line = _first_line(node)
                return f"`{name}` has a Python loop (`{line}`), and this task asks for none"
            used = _used_name(node)
            own = isinstance(node, ast.Name) and look_up(node.id) is not None
            if used in ("eval", "exec") and isinstance(node, ast.Name) and not own:
                return f"`{name}` uses `{used}`, which hides what this task has to see"
            if isinstance(node, ast.Name) and node.id in variables:
                continue
            if used in forbidden and not own:
                return f"`{name}` uses `{used}`, and this task asks you to do without it"
            if own:
                todo.append(node.id)
    return None


def _variables(tree: ast.AST) -> set[str]:
    """The names that a function assigns: with these it means its own variables."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def _used_name(node: ast.AST) -> str | None:
    """The last name of what a node refers to: ``conv2d`` in ``F.conv2d``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.alias):
        return node.name.split(".")[-1]
    return None


def _first_line(node: ast.AST) -> str:
    line = ast.unparse(node).splitlines()[0]
    return line if len(line) <= 50 else line[:47] + "..."
