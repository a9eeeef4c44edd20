"""Lecture 4, LeNet: the slides' numbers, from the package's networks."""

from math import prod

from cnnlab import summary
from cnnlab.models import get_model


def numbers() -> dict:
    """By the slides' ids (several with blanks between): what our networks give."""
    lenet5 = summary(get_model("lenet5", device="meta"), (1, 32, 32))
    mnist_cnn = summary(get_model("mnist_cnn", device="meta"), (1, 28, 28))
    sides = [row.output_size[0] for row in mnist_cnn.rows if row.kind in ("conv", "pool")]
    large = get_model("lenet_slide", device="meta")
    costs = summary(large, (1, 28, 28))
    maps = [list(row.output_shape[1:]) for row in costs.rows if row.kind in ("conv", "pool")]
    weights = [list(p.shape) for name, p in large.named_parameters() if name.endswith("weight")]
    volume = [28 * 28, *map(prod, maps)]
    return {
        "S004-035": lenet5.total_params,
        "S000-003": lenet5["classifier.0"].params - 120,
        **dict(zip(("S002-002", "S002-004", "S002-005", "S002-007"), maps, strict=True)),
        "S002-003": weights[0],
        "S002-006": weights[1],
        "S002-008": volume[-1],
        "S002-009": weights[2][::-1],
        "S002-010": weights[3][::-1],
        "S002-011": costs.total_params,
        "S002-012": volume,
        "S004-030": sides[0],
        "S004-031": [sides[-1], sides[-1], mnist_cnn["features.7"].output_channels],
        "S004-032": mnist_cnn.total_params,
    }


# "striped", the first CNN, the fourth author's name.
QUOTED = "S002-013 S004-036 S004-037"
