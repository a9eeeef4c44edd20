"""Transfer learning: what a network has learnt elsewhere, put to use.

>>> from cnnlab.transfer import freeze, load_trunk
>>> model = load_trunk("patterns", classes=10)
>>> freeze(model, trainable=2)
['layer3.0', 'fc']
"""

from cnnlab.transfer.features import extract_features
from cnnlab.transfer.pretrained import as_trunk_input, load_trunk
from cnnlab.transfer.strategies import STRATEGIES, adapt
from cnnlab.transfer.surgery import freeze, parameter_groups, replace_head, units

__all__ = [
    "STRATEGIES",
    "adapt",
    "as_trunk_input",
    "extract_features",
    "freeze",
    "load_trunk",
    "parameter_groups",
    "replace_head",
    "units",
]
