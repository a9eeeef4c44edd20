"""CNN Lab: convolutional networks from one filter to transfer learning.

The few names that a notebook needs every day live here; everything else is one import
away in its own module. Nothing heavy is imported until it is used.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "check": "cnnlab.assignments",
    "get_device": "cnnlab.device",
    "output_size": "cnnlab.shapes",
    "receptive_field": "cnnlab.shapes",
    "seed_everything": "cnnlab.device",
    "summary": "cnnlab.cost",
}
__all__ = [
    "check",
    "get_device",
    "output_size",
    "receptive_field",
    "seed_everything",
    "summary",
]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'cnnlab' has no attribute '{name}'")


def __dir__():
    return [*globals(), *__all__]
