"""The published data sets, through torchvision, and folders of one's own images."""

from pathlib import Path
from typing import Literal

import torch

from cnnlab.data.bundled import SPLITS, digits
from cnnlab.data.download import cache_folder, fetch
from cnnlab.data.image_set import ImageSet
from cnnlab.data.mnist import mnist
from cnnlab.data.procedural import patterns

__all__ = ["image_folder", "load"]

OFFLINE = {"digits": digits, "patterns": patterns, "mnist_5k": mnist}
PUBLISHED = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}
NEAREST = {"mnist": "mnist_5k", "fashion_mnist": "patterns"}  # what to use instead with no network


def load(
    name: str,
    split: Literal["train", "validation", "test"] = "train",
    *,
    progress: bool | None = None,
    **options,
) -> ImageSet:
    """A data set by name, downloaded the first time that it is asked for.

    Parameters
    ----------
    name
        ``"digits"``, ``"patterns"`` and ``"mnist_5k"`` need no network; ``"mnist"`` (12 MB),
        ``"fashion_mnist"`` (31 MB), ``"cifar10"`` (170 MB) and ``"cifar100"`` (169 MB) are kept in
        the folder that the environment variable ``CNNLAB_DATA`` names, else in
        ``~/.cache/cnnlab``.
    split
        Published sets come in two parts; here every tenth image of the training part is the
        validation split and the other nine are ``"train"`` (45,000 and 5,000 for CIFAR, as the
        ResNet paper cuts it in section 4.2).
    progress
        Show a bar while downloading; by default where somebody watches.
    **options
        Of `digits` and `patterns`, such as ``size=28``.

    Raises
    ------
    ValueError
        If the name or the split is unknown.
    RuntimeError
        If the set is not there and can't be downloaded; the sentence names an alternative.
    """
    if name in OFFLINE:
        return OFFLINE[name](split, **options)
    if name not in PUBLISHED:
        raise ValueError(f"data set {name!r} is none of {', '.join([*OFFLINE, *PUBLISHED])}")
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
    if options:
        raise ValueError(f"{name} takes no option {', '.join(options)}")
    file = _torchvision_set(name, split != "test", progress)
    images, labels = torch.as_tensor(file.data), torch.as_tensor(file.targets)
    if split != "test":
        tenth = torch.arange(len(images)) % 10 == 9
        chosen = tenth if split == "validation" else ~tenth
        images, labels = images[chosen], labels[chosen]
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
    images = images.contiguous().float().div_(255)
    return ImageSet(images, labels.long(), file.classes, f"{name} ({split})")


def _torchvision_set(name: str, train: bool, progress: bool | None):
    """The set as torchvision reads it, its archives fetched first if need be."""
    import torchvision.datasets

    kind, root = getattr(torchvision.datasets, PUBLISHED[name]), cache_folder()
    try:
        return kind(root, train=train)
    except Exception:  # not there, or broken in any of the ways that a file can be
        pass
    if hasattr(kind, "resources"):
        folder = root / kind.__name__ / "raw"
        archives = [(file, md5, kind.mirrors) for file, md5 in kind.resources]
        extracted = [folder / Path(file).stem for file, _ in kind.resources]
    else:
        folder = root
        archives = [(kind.filename, kind.tgz_md5, [kind.url.removesuffix(kind.filename)])]
        extracted = []  # checked one by one, and unpacked anew if broken
    try:
        for file, md5, mirrors in archives:
            _fetch_from_any(mirrors, file, folder / file, md5, progress)
        for path in extracted:  # torchvision checks that they are there, not that they are whole
            path.unlink(missing_ok=True)
        return kind(root, train=train, download=True)  # finds the archives and unpacks them
    except (ConnectionError, ValueError) as error:
        instead = NEAREST.get(name, "patterns")
        raise RuntimeError(
            f"{name} is not in {root} and {error}. With no network use "
            f'cnnlab.data.load("{instead}"), or set CNNLAB_DATA to a folder that has the files.'
        ) from None
    except OSError as error:
        raise RuntimeError(f"{name} could not be stored in {root}: {error.strerror}") from None


def _fetch_from_any(mirrors, file: str, path: Path, md5: str, progress: bool | None) -> None:
    for mirror in mirrors:
        try:
            return fetch(f"{mirror}{file}", path, md5, progress)
        except (ConnectionError, ValueError) as error:
            failure = error
    raise failure


def image_folder(folder: str | Path, size: int = 224, augment: bool = False):
    """Your own images, one sub-folder a class: ``folder/cat/1.jpg``, ``folder/dog/7.png``.

    Parameters
    ----------
    folder
        The classes are its sub-folders, in alphabetical order.
    size
        Height and width that the network gets. The shorter side is resized to 8/7 of it (256 for
        224) and the middle cut out.
    augment
        Cut a random part at a random scale instead, and mirror half of the images.

    Returns
    -------
    torchvision.datasets.ImageFolder
        A dataset that reads the files when they are asked for: (3, size, size), float32 in
        [0, 1], and the class number.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no image in it.
    """
    from torchvision import datasets
    from torchvision.transforms import v2

    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder")
    if augment:
        cut = [v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()]
    else:
        cut = [v2.Resize(size * 8 // 7, antialias=True), v2.CenterCrop(size)]
    transform = v2.Compose([v2.ToImage(), *cut, v2.ToDtype(torch.float32, scale=True)])
    try:
        return datasets.ImageFolder(folder, transform)
    except FileNotFoundError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise FileNotFoundError(
            f"{folder} has no images in sub-folders, one a class ({reason})"
        ) from None
