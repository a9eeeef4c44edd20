"""Wrong answers made by machine: a right one with one thing in its source changed."""

import ast
import inspect
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator

__all__ = ["mutants", "source_mutants"]

OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def mutants(answer: Callable) -> Iterator[tuple[str, Callable]]:
    """Every mutant of a function or class, each with its change in words.

    Changed are operators, comparisons, signs, constants (and with them indices and defaults),
    and the order of arguments and of unpacking; left out are statements, keyword arguments,
    and calls around a single operand (``relu(x)`` becomes ``x``). In modules, gradients are cut off
    and batch norms get another momentum or epsilon.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(answer)))
    names = vars(sys.modules[answer.__module__])
    for node, put in _slots(tree):
        in_module = isinstance(tree.body[0], ast.ClassDef)
        changes = [*_variants(node), *(_learning_variants(node) if in_module else ())]
        for changed in changes:
            changed = ast.fix_missing_locations(ast.copy_location(changed, node))
            before, after = (ast.unparse(n) for n in (node, changed))
            if before == after:
                continue
            put(changed)
            namespace = dict(names)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                exec(compile(tree, "<mutant>", "exec"), namespace)
            put(node)
            words = f"`{answer.__name__}`: `{before}` became `{after}`"
            yield words.replace("\n", " "), namespace[answer.__name__]


def _learning_variants(node: ast.AST) -> Iterator[ast.AST]:
    """Changes that no output shows: a gradient that is cut off, statistics that move otherwise."""
    match node:
        case ast.Assign(targets, value=ast.Call() | ast.BinOp() as value) if not _makes_layer(
            value
        ):
            yield ast.Assign(targets, _detached(value))
        case ast.Return(value=ast.Call() | ast.BinOp() as value) if not _makes_layer(value):
            yield ast.Return(_detached(value))
        case ast.Call(ast.Attribute(attr="BatchNorm2d" | "BatchNorm1d") as layer, arguments, []):
            yield ast.Call(layer, arguments, [ast.keyword("momentum", ast.Constant(0.5))])
            yield ast.Call(layer, arguments, [ast.keyword("eps", ast.Constant(0.01))])


def _makes_layer(value: ast.expr) -> bool:
    """Whether a call is of a class, as ``nn.Conv2d(...)`` in a constructor is."""
    return isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1][:1].isupper()


def _detached(value: ast.expr) -> ast.expr:
    return ast.Call(ast.Attribute(value, "detach", ast.Load()), [], [])


def _slots(tree: ast.AST) -> Iterator[tuple[ast.AST, Callable]]:
    """Every expression and statement below the definition, and how to put another in its place."""
    for parent in list(ast.walk(tree)):
        for field, value in ast.iter_fields(parent):
            for index, node in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(parent, ast.Module) or not isinstance(node, (ast.expr, ast.stmt)):
                    continue
                if isinstance(value, list):
                    yield node, lambda new, value=value, index=index: value.__setitem__(index, new)
                else:
                    yield node, lambda new, parent=parent, field=field: setattr(parent, field, new)


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.BinOp(left, op, right) if type(op) in OPERATORS:
            yield ast.BinOp(left, OPERATORS[type(op)](), right)
        case ast.Compare(left, [op], [right]) if type(op) in OPERATORS:
            yield ast.Compare(left, [OPERATORS[type(op)]()], [right])
        case ast.BoolOp(op, values):
            yield ast.BoolOp(OPERATORS[type(op)](), values)
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield operand
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() as value):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)
        case ast.Constant(float() as value):
            yield ast.Constant(2 * value or 1.0)
        case ast.Call(function, arguments, keywords):
            for index in range(len(keywords)):
                yield ast.Call(function, arguments, keywords[:index] + keywords[index + 1 :])
            match function, arguments:
                case _, [ast.expr() as first, second, *others]:
                    yield ast.Call(function, [second, first, *others], keywords)
                case _, [ast.expr() as operand] if not isinstance(operand, ast.Starred):
                    yield operand
                case ast.Attribute(operand), []:
                    yield operand
        case ast.Tuple([first, second, *others], context):
            yield ast.Tuple([second, first, *others], context)
        case ast.Assign() | ast.AugAssign():
            yield ast.Pass()


KERNEL_CHANGES = [  # a pattern, and what it becomes
    (r" \+ ", [" - "]),
    (r" - ", [" + "]),
    (r" \* ", [" + "]),
    (r" / ", [" * "]),
    (r" % ", [" / "]),
    (r" < ", [" <= "]),
    (r" <= ", [" < "]),
    (r" > ", [" >= "]),
    (r" >= ", [" > "]),
    (r" && ", [" || "]),
    (r" \|\| ", [" && "]),
    (r" \+= (?=[^;]*;\n)", [" = "]),
    (r"\bmin\b", ["max"]),
    (r"\bmax\b", ["min"]),
    (r"(?<=Idx|Dim)\.x\b", [".y"]),
    (r"(?<=Idx|Dim)\.y\b", [".x"]),
    (r"\(int\)", [""]),
    (r"\b__syncthreads\(\);", ["", "__syncwarp();"]),
    (r"\bif \([^;{}]*\) return;", [""]),
]


def source_mutants(answer: Callable) -> Iterator[tuple[str, Callable]]:
    """Every mutant of a CUDA source that ``answer()`` returns, each with its change in words.

    Changed are operators, comparisons, whole numbers, x and y, min and max; left out are casts,
    barriers and early returns.
    """
    source = answer()
    changes = [
        (found.span(), after)
        for pattern, others in KERNEL_CHANGES
        for found in re.finditer(pattern, source)
        for after in others
    ]
    for found in re.finditer(r"(?<![\w.])\d+(?![\w.])", source):
        changes += [(found.span(), str(int(found[0]) + step)) for step in (1, -1)]
    for (start, end), after in changes:
        line = source.count("\n", 0, start)
        text = source[:start] + after + source[end:]
        before, now = (t.splitlines()[line].strip() for t in (source, text))
        words = f"`{answer.__name__}`: `{before}` became `{now}`"
        yield words, lambda text=text: text
