"""What ``cnnlab summary`` prints: a model found by its name, as text."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import inspect
import json
import os
import sys
import traceback
from pathlib import Path

import torch
from torch import nn

from cnnlab.cost import render

FORMATS = ("table", "tree", "csv", "json", "markdown", "latex", "html")


def summary_text(
    model: str,
    input_size: str | tuple[int, ...] = "3,224,224",
    format: str = "table",
    *,
    depth: int | None = None,
    batch_size: int = 1,
    train: bool = False,
    dtype: str | None = None,
    memory: bool = False,
    compare: str | None = None,
    columns: str | None = None,
    sort: str | None = None,
    units: bool = False,
) -> str:
    """The summary of a named model as text.

    Parameters
    ----------
    model, compare : str
        A name of ``cnnlab.models`` or of torchvision, such as ``"resnet50"``, or
        ``"module:attribute"`` of your own code, where the attribute is a model, a class or a
        function that builds one without arguments; ``"path/to/file.py:attribute"`` works too.
        With a second model: what differs.
    input_size : str or tuple of int
        Without the batch, ``"3,224,224"``; ``"3,224,224;10"`` are two inputs.
    format : {"table", "tree", "csv", "json", "markdown", "latex", "html"}
    depth : int, optional
        One row for each module at this depth instead of one for each operation.
    train, memory, units : bool
        In training mode; with what a forward pass and a training step need; ``3.9 G`` instead of
        whole numbers.
    dtype, columns, sort : str, optional
        Of inputs and parameters, ``"float16"``; ``"name,params,macs"``; the column to sort by.

    Raises
    ------
    ValueError
        One sentence that says what was not found, or why the model cannot be followed; below it
        the table up to there.
    """
    from cnnlab.cost import compare as compared
    from cnnlab.cost import summary

    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if (columns or units) and format not in ("table", "tree"):
        raise ValueError(f"columns and units are those of a table or tree, not of {format}")
    sizes = _sizes(input_size) if isinstance(input_size, str) else input_size
    type_ = None if dtype is None else getattr(torch, dtype, None)
    if dtype is not None and not isinstance(type_, torch.dtype):
        raise ValueError(f"dtype must be a type of torch's such as float16, got {dtype!r}")

    def made(name):
        network = find_model(name).train(train)
        try:
            return summary(network, sizes, batch_size=batch_size, dtype=type_)
        except ValueError as error:
            table = getattr(error, "table", "")
            raise ValueError(
                f"{error}\n\nUp to there:\n{table}" if table else f"{error}"
            ) from error

    result = made(model)
    if compare is not None:
        return str(compared(result, made(compare)))
    table = result if depth is None else result.by_depth(depth)
    if format == "tree":
        table = result.tree(depth)
    if sort is not None:
        table = table.sorted(sort)
    if format == "json":
        return json.dumps(table.to_dict(), indent=1, ensure_ascii=False)
    if format == "html":
        return table._repr_html_()
    if format not in ("table", "tree"):
        return getattr(table, f"to_{format}")()
    text = table.text(render.page(), columns=columns, units=units)
    return f"{text}\n\n{_memory(result)}" if memory else text


def _memory(result) -> str:
    lines = []
    for name in ("forward", "training"):
        parts = getattr(result, f"{name}_memory")().items()
        words = ", ".join(f"{part} {render.human(n, 'B')}" for part, n in parts)
        lines.append(f"{'forward pass' if name == 'forward' else 'training step (sgd)'}: {words}")
    lines.append(f"backward pass: {render.human(result.backward_flops, '1')} FLOPs")
    return "\n".join(lines)


def list_text() -> str:
    """The names that `summary_text` knows, one a line."""
    return "\n".join(sorted(_builders()))


def find_model(name: str) -> nn.Module:
    """The model that `summary_text` means by this name, on the meta device where it can be."""
    if not isinstance(name, str):
        raise TypeError(f"a model goes by a name such as 'resnet50', got {name!r}")
    if ":" in name:
        return _own(*name.rsplit(":", 1))
    builders = _builders()
    name = name if name in builders else name.lower()
    if name not in builders:
        near = difflib.get_close_matches(name, builders, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "your own is 'module:attribute'"
        raise ValueError(f"no model is called {name!r}: {hint}")
    return _built(builders[name])


def _builders() -> dict:
    """Functions that build the models with a name, those of the course before torchvision's."""
    from torchvision import models as tv

    def untrained(name):
        builder = tv.get_model_builder(name)
        weights = [w for w in inspect.signature(builder).parameters if w.startswith("weights")]
        return builder(**dict.fromkeys(weights))  # weights=None, weights_backbone=None

    builders = {name: functools.partial(untrained, name) for name in tv.list_models()}
    if importlib.util.find_spec("cnnlab.models"):
        models = importlib.import_module("cnnlab.models")
        builders |= {
            name: functools.partial(models.get_model, name) for name in models.list_models()
        }
    return builders


def _own(place: str, attribute: str) -> nn.Module:
    before, file = sys.path[:], Path(place)
    sys.path[:0] = [str(file.resolve().parent) if place.endswith(".py") else os.getcwd()]
    try:
        if place.endswith(".py"):
            name = f"_own_{file.stem}"  # a json.py of yours is not everyone's json
            spec = importlib.util.spec_from_file_location(name, place)
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        found = module
        for part in attribute.split("."):
            if not hasattr(found, part):
                near = difflib.get_close_matches(part, dir(found), n=3)
                hint = f", did you mean {' or '.join(near)}?" if near else ""
                raise ValueError(f"{place!r} has no {attribute!r}{hint}")
            found = getattr(found, part)
        built = isinstance(found, nn.Module) or not callable(found)
        model = found if built else _built(found)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(_in_a_sentence(place, attribute, error)) from error
    finally:
        sys.path[:] = before
    if not isinstance(model, nn.Module):
        raise ValueError(f"'{place}:{attribute}' is a {type(model).__name__}, not an nn.Module")
    return model


def _in_a_sentence(place: str, attribute: str, error: Exception) -> str:
    """What went wrong in code of the user's, with the line."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(torch.__path__[0])]
    last = theirs[-1]
    line = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError):
        return f"{place!r} cannot be imported: {line}"
    if isinstance(error, TypeError) and "argument" in str(error) and last.filename == __file__:
        return f"'{place}:{attribute}' must build without arguments: {error}"
    if isinstance(error, (ImportError, FileNotFoundError)):
        return f"{place!r} cannot be imported: {error}"
    where = f"{Path(last.filename).name}, line {last.lineno}"
    return f"'{place}:{attribute}' cannot be built: {line} ({where}: {last.line})"


def _built(builder) -> nn.Module:
    try:
        with torch.device("meta"):  # no weights are needed
            return builder()
    except (NotImplementedError, RuntimeError) as error:  # it reads values while it builds
        if "meta" not in str(error):
            raise
        return builder()


def _sizes(text: str):
    """``(3, 224, 224)`` of ``"3,224,224"``; a list of several that are parted by semicolons."""
    try:
        sizes = [tuple(int(n) for n in part.split(",")) for part in text.split(";")]
    except ValueError:
        raise ValueError(f"the input size must look like 3,224,224, got {text!r}") from None
    return sizes if len(sizes) > 1 else sizes[0]
