"""Networks by name: `register`, `get_model`, `list_models`, and published weights."""

import difflib
import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from cnnlab.models._init import Initialization, he, skip_random_init
from cnnlab.models._network import Network

__all__ = ["get_model", "list_models", "register"]


@dataclass(frozen=True)
class Entry:
    build: Callable[..., Network]
    about: str
    input_size: tuple[int, int, int]
    num_classes: int
    paper_init: Initialization | None
    adapt: Callable[[dict, Network], dict]
    published: dict
    shipped: dict[str, Callable[[], dict]]
    config: dict


_ENTRIES: dict[str, Entry] = {}


def register(
    name: str,
    build: Callable[..., Network],
    about: str,
    *,
    input_size: tuple[int, int, int] = (3, 224, 224),
    num_classes: int = 1000,
    paper_init: Initialization | None = None,
    adapt: Callable[[dict, Network], dict] = lambda state, network: state,
    published: dict | None = None,
    shipped: dict[str, Callable[[], dict]] | None = None,
    **config,
) -> None:
    """Give a network a name.

    Parameters
    ----------
    build : callable
        Makes it from ``num_classes``, ``device``, ``dtype`` and ``config``.
    about : str
        One line for `list_models`.
    input_size : tuple of int
        The paper's ``(C, H, W)``.
    paper_init : callable, optional
        ``paper_init(network, generator)``, if the paper states how its weights started.
    adapt : callable, optional
        ``adapt(state_dict, network)`` renames what torchvision's published file names otherwise.
    published : dict, optional
        Options that the published weights were trained with and that no weight shows.
    shipped : dict, optional
        Weights that an installed package has: a name, and what reads its ``state_dict``.
    """
    if name in _ENTRIES:
        raise ValueError(f"two networks are named {name!r}")
    _ENTRIES[name] = Entry(
        build,
        about,
        input_size,
        num_classes,
        paper_init,
        adapt,
        published or {},
        shipped or {},
        config,
    )


def list_models(pattern: str = "*") -> dict[str, str]:
    """Names that `get_model` knows, each with one line on what it is.

    Parameters
    ----------
    pattern : str
        Shell-style wildcard, for example ``"resnet*"`` or ``"*_cifar"``.
    """
    return {n: entry.about for n, entry in _ENTRIES.items() if fnmatch.fnmatch(n, pattern)}


def get_model(
    name: str,
    num_classes: int | None = None,
    weights: str | None = None,
    device=None,
    dtype=None,
    *,
    init: str = "he",
    generator: torch.Generator | None = None,
    **options,
) -> Network:
    """Build a network by name.

    Parameters
    ----------
    name : str
        One of `list_models`. A name that torchvision has is torchvision's definition.
    num_classes : int, optional
        Outputs; the paper's data set (1000 for ImageNet, 10 for CIFAR and MNIST) if left out.
    weights : str, optional
        Published weights, for example ``"IMAGENET1K_V1"``, where torchvision has them.
        ``"imagenet"`` for efficientnet_lite0 is the only one that needs no network.
    device, dtype : optional
        As everywhere in torch; ``device="meta"`` builds without any memory.
    init : {"he", "paper"}
        ``"he"`` trains from scratch, at any depth. ``"paper"`` is what the paper states.
    generator : torch.Generator, optional
        Draws the weights, for a repeatable start.
    **options
        Of the network's class, for example ``in_channels=1`` or ``shortcut="A"``.

    Raises
    ------
    ValueError
        If the name, the weights or ``init`` don't exist, or ``weights`` comes with another
        ``num_classes`` than the file's.
    TypeError
        If the network has no such option.
    ModuleNotFoundError
        If the package that ships the weights is not installed.
    RuntimeError
        If the published file is neither in torch's cache nor to be had from the network.

    Examples
    --------
    >>> get_model("lenet5")(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 10])
    """
    if name not in _ENTRIES:
        near = difflib.get_close_matches(name.lower(), _ENTRIES, n=3, cutoff=0)
        raise ValueError(f"no network is named {name!r}; the nearest are {', '.join(near)}")
    if init not in ("he", "paper"):
        raise ValueError(f"init must be 'he' or 'paper', got {init!r}")
    entry = _ENTRIES[name]
    if init == "paper" and entry.paper_init is None:
        raise ValueError(f"the paper of {name} states no initialization; leave init out")
    if "pretrained" in options:
        raise TypeError("pretrained is torchvision's old way: say weights='IMAGENET1K_V1', or None")
    enum = None if weights is None else _find_weights(name, weights, num_classes)
    published = {} if enum is None else entry.published
    with skip_random_init():
        network = entry.build(
            num_classes=entry.num_classes if num_classes is None else num_classes,
            device=device,
            dtype=dtype,
            **entry.config | published | options,
        )
    network.input_size = (options.get("in_channels", entry.input_size[0]), *entry.input_size[1:])
    if enum is not None:
        state = entry.shipped[enum]() if enum in entry.shipped else _fetch(enum)
        network.load_state_dict(entry.adapt(state, network), strict=True)
    elif init == "paper":
        entry.paper_init(network, generator)
    else:
        he(network, generator)
    return network


def _find_weights(name: str, weights: str, num_classes: int | None):
    """Torchvision's enum member for these weights, or the name of those that a package ships."""
    if shipped := _ENTRIES[name].shipped:
        known, member, classes = shipped, weights, _ENTRIES[name].num_classes
    else:
        import torchvision  # slow to import, so only here

        if name not in torchvision.models.list_models():
            raise ValueError(f"there are no published weights for {name!r}")
        known = torchvision.models.get_model_weights(name).__members__
        member = getattr(weights, "name", weights)
    if member not in known:
        raise ValueError(f"{name} has no weights {member!r}, only {', '.join(known)}")
    if not shipped:
        classes = len(known[member].meta["categories"])
    if num_classes not in (None, classes):
        raise ValueError(
            f"the weights {member} of {name} have {classes} classes, got "
            f"num_classes={num_classes}; leave it out, then replace the last layer"
        )
    return member if shipped else known[member]


def _fetch(weights) -> dict[str, torch.Tensor]:
    """The published ``state_dict``, from torch's cache or downloaded to it."""
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except OSError as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise RuntimeError(
            f"{Path(weights.url).name} is not in {folder} and can't be downloaded "
            f"({getattr(error, 'reason', error)}): fetch {weights.url} where there is a network "
            "and put the file there"
        ) from None
