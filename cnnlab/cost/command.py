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
from pathlib import Path

import torch
from torch import nn

FORMATS = ("table", "csv", "json", "markdown", "latex", "html")


def summary_text(
    model: str,
    input_size: str | tuple[int, ...],
    format: str = "table",
    *,
    depth: int | None = None,
    batch_size: int = 1,
) -> str:
    """The summary of a named model as text.

    Parameters
    ----------
    model : str
        A name of ``cnnlab.models`` or of torchvision, such as ``"resnet50"``, or
        ``"module:attribute"`` of your own code, where the attribute is a model, a class or a
        function that builds one without arguments; ``"path/to/file.py:attribute"`` works too.
    input_size : str or tuple of int
        Without the batch, ``"3,224,224"``; ``"3,224,224;10"`` are two inputs.
    format : {"table", "csv", "json", "markdown", "latex", "html"}
    depth : int, optional
        One row for each module at this depth instead of one for each operation.

    Raises
    ------
    ValueError
        One sentence that says what was not found, or why the model cannot be followed.
    """
    from cnnlab.cost import summary

    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    sizes = _sizes(input_size) if isinstance(input_size, str) else input_size
    result = summary(find_model(model).eval(), sizes, batch_size=batch_size)
    table = result if depth is None else result.by_depth(depth)
    if format == "json":
        return json.dumps(table.to_dict(), indent=1, ensure_ascii=False)
    if format == "html":
        return table._repr_html_()
    return str(table) if format == "table" else getattr(table, f"to_{format}")()


def find_model(name: str) -> nn.Module:
    """The model that `summary_text` means by this name, on the meta device where it can be."""
    if ":" in name:
        return _own(*name.rsplit(":", 1))
    builders = _builders()
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
    before = sys.path[:]
    sys.path.insert(0, os.getcwd())
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(place).stem, place)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
    except (ImportError, FileNotFoundError) as error:
        raise ValueError(f"{place!r} cannot be imported: {error}") from error
    finally:
        sys.path[:] = before
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), n=3)
            hint = f", did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"{place!r} has no {attribute!r}{hint}")
        found = getattr(found, part)
    try:
        model = found if isinstance(found, nn.Module) or not callable(found) else _built(found)
    except TypeError as error:
        raise ValueError(f"'{place}:{attribute}' must build without arguments: {error}") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"'{place}:{attribute}' is a {type(model).__name__}, not an nn.Module")
    return model


def _built(builder) -> nn.Module:
    try:
        with torch.device("meta"):  # no weights are needed
            return builder()
    except (NotImplementedError, RuntimeError):  # it reads values while it builds
        return builder()


def _sizes(text: str):
    """``(3, 224, 224)`` of ``"3,224,224"``; a list of several that are parted by semicolons."""
    try:
        sizes = [tuple(int(n) for n in part.split(",")) for part in text.split(";")]
    except ValueError:
        raise ValueError(f"the input size must look like 3,224,224, got {text!r}") from None
    return sizes if len(sizes) > 1 else sizes[0]
