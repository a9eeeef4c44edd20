"""Grading a class: verdicts are made here, outside the students' processes."""

import sys

__all__ = ["Grade", "GradingError", "grade"]

# jsonschema builds a grammar of addresses when it finds this package, which takes longer than all
# else that a notebook's reader imports; no schema of a notebook's asks for an address.
UNUSED = "rfc3987_syntax", None


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    sys.modules.setdefault(*UNUSED)
    from cnnlab.grading import coordinator

    return getattr(coordinator, name)
