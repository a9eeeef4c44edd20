"""Transfer learning: what a network has learnt elsewhere, put to use.

>>> from cnnlab.transfer import freeze, load_trunk
>>> model = load_trunk("patterns", classes=10)
>>> freeze(model, trainable=2)
['layer3.0', 'fc']
"""

from cnnlab.transfer.cells import (
    ADVICE,
    CELLS,
    STRATEGIES,
    CellTable,
    adapt,
    cell_data,
    measure_cells,
)
from cnnlab.transfer.features import extract_features
from cnnlab.transfer.pretrained import as_trunk_input, load_trunk
from cnnlab.transfer.surgery import freeze, parameter_groups, replace_head, units

__all__ = [
    "ADVICE",
    "CELLS",
    "STRATEGIES",
    "CellTable",
    "adapt",
    "as_trunk_input",
    "cell_data",
    "extract_features",
    "freeze",
    "load_trunk",
    "measure_cells",
    "parameter_groups",
    "replace_head",
    "units",
]
