"""The course's own kernels, from a guarded copy to a layer on tensor cores, as text.

`cnnlab.assignments.ladder` has a spec for each: sizes, blocks and limits that it passes.
"""

from pathlib import Path

__all__ = ["reference_source"]


def reference_source(file: str) -> str:
    """The text of a reference kernel, such as ``"tiled.cu"``."""
    return (Path(__file__).parent / "kernels" / file).read_text()
