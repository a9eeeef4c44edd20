"""Small trunks, trained here and shipped: what transfer learning starts from with no network.

``python -m cnnlab.transfer.pretrained`` trains them again, in a few minutes on two cores.
"""

from importlib.resources import files
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.data import SHAPES, ImageSet, digits, patterns
from cnnlab.models import get_model
from cnnlab.training import Recipe, evaluate, fit
from cnnlab.transfer.surgery import replace_head

__all__ = ["SIZE", "SOURCE_SHAPES", "TARGET_SHAPES", "as_trunk_input", "load_trunk", "new_trunk"]

SIZE = 16  # pixels
SOURCE_SHAPES, TARGET_SHAPES = tuple(SHAPES)[:8], tuple(SHAPES)[8:]
RECIPE = Recipe(epochs=25, batch_size=64, learning_rate=0.1, weight_decay=5e-4, augment="shift")
FOLDER = files("cnnlab.transfer") / "trunks"


def as_trunk_input(data: ImageSet) -> ImageSet:
    """The images in colour and in the trunks' size, (N, 3, 16, 16)."""
    images = data.images.expand(-1, 3, -1, -1)
    if images.shape[-1] != SIZE:
        images = F.interpolate(images, size=(SIZE, SIZE), mode="bilinear", antialias=True)
    return ImageSet(images.contiguous(), data.labels, data.classes, data.name)


def sources(split: str) -> dict[str, ImageSet]:
    """What the trunks learn from: eight shapes, drawn in plenty, and the handwritten digits."""
    count = 8000 if split == "train" else 1000
    return {
        "patterns": patterns(split, count, SIZE, classes=SOURCE_SHAPES),
        "digits": as_trunk_input(digits(split)),
    }


def new_trunk(classes: int, generator: torch.Generator | None = None) -> nn.Module:
    """The trunks' network with fresh weights: ResNet-8, ``(N, 3, 16, 16)`` to ``(N, classes)``."""
    return get_model("resnet20_cifar", classes, layers=(1, 1, 1), generator=generator)


def load_trunk(
    name: str, classes: int | None = None, generator: torch.Generator | None = None
) -> nn.Module:
    """A ResNet-8 that was trained on ``"patterns"`` (eight shapes) or on the ``"digits"``.

    Parameters
    ----------
    name
        Which one.
    classes
        Put a new head for so many classes on it; by default it keeps its own.
    generator
        Draws the new head.

    Raises
    ------
    ValueError
        If there is no such trunk.
    """
    known = sorted(Path(str(file)).stem for file in FOLDER.iterdir())
    if name not in known:
        raise ValueError(f"trunk {name!r} is none of {', '.join(known)}")
    with (FOLDER / f"{name}.pt").open("rb") as file:
        state = torch.load(file, weights_only=True)
    model = new_trunk(len(state["fc.bias"]))
    model.load_state_dict(state)  # stored in float16, computed in float32
    return model if classes is None else replace_head(model, classes, generator)


def main() -> None:
    """Train both trunks and store them, with what they can do."""
    torch.set_num_threads(1)  # the same sums in the same order, however many cores
    tests = sources("test")
    for name, data in sources("train").items():
        model = new_trunk(len(data.classes), torch.Generator().manual_seed(0))
        fit(model, data, RECIPE, device="cpu")
        path = Path(str(FOLDER)) / f"{name}.pt"
        path.parent.mkdir(exist_ok=True)
        state = model.state_dict()
        torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, path)
        accuracy = evaluate(load_trunk(name), tests[name], device="cpu").accuracy
        print(f"{path.name}: {accuracy:.1%} on the test images, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
