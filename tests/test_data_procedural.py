"""The drawn pictures: the same everywhere, and with the class in the picture."""

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlab.data import COLOURS, SHAPES, TEXTURES, patterns


def fingerprint(images: torch.Tensor) -> str:
    return hashlib.sha256((images * 255).round().to(torch.uint8).numpy().tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("split", "options", "expected"),
    [
        ("train", {}, "c389b371c43a29e6"),
        ("test", {"size": 16, "classes": 14, "difficulty": 1.0}, "d862b6a3480c73e5"),
        (
            "validation",
            {"size": 64, "by": "texture", "difficulty": 0},
            "75ecbc8cb5018ec0",
        ),
    ],
)
def test_the_pixels_are_the_same_on_every_machine(split, options, expected):
    assert fingerprint(patterns(split, 100, **options).images) == expected


def test_a_larger_set_begins_like_a_smaller_one():
    small, large = patterns(count=20), patterns(count=300)
    assert torch.equal(small.images, large.images[:20])
    assert torch.equal(small.labels, large.labels[:20])


def test_splits_and_seeds_share_no_picture():
    sets = [patterns(s, 50, seed=seed) for s in ("train", "validation", "test") for seed in (0, 1)]
    pictures = {bytes(image.numpy().tobytes()) for data in sets for image in data.images}
    assert len(pictures) == 300


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 40),
    size=st.integers(16, 64),
    by=st.sampled_from(["shape", "texture", "colour", ("shape", "texture")]),
    classes=st.integers(2, 8),
    difficulty=st.floats(0, 1),
)
def test_any_setting_gives_images_in_range_and_equal_classes(count, size, by, classes, difficulty):
    data = patterns("train", count, size, by=by, classes=classes, difficulty=difficulty)
    assert data.images.shape == (count, 3, size, size)
    assert data.images.dtype == torch.float32
    assert data.images.min() >= 0 and data.images.max() <= 1
    shares = data.labels.bincount(minlength=classes)
    assert shares.max() - shares.min() <= 1


def test_colours_are_those_of_the_class():
    data = patterns(count=80, by="colour", classes=8, difficulty=0)
    for name, colour in COLOURS.items():
        mine = data.images[data.labels == data.classes.index(name)]
        saturation = mine.amax(1) - mine.amin(1)
        strongest = mine.permute(0, 2, 3, 1)[saturation > 0.9 * saturation.amax((1, 2), True)]
        mean, wanted = strongest.mean(0), torch.tensor(colour)
        assert torch.cosine_similarity(mean - mean.mean(), wanted - wanted.mean(), dim=0) > 0.9


def test_an_easy_shape_is_always_the_same_silhouette():
    data = patterns(count=28, classes=14, difficulty=0)
    silhouettes = (data.images - 0.5).abs().amax(1) > 0.02
    for shape in range(14):
        first, second = silhouettes[data.labels == shape]
        overlap = (first & second).sum() / (first | second).sum()
        assert overlap > 0.8, data.classes[shape]


def test_difficulty_makes_a_nearest_neighbour_worse():
    def accuracy(difficulty):
        train = patterns("train", 800, 16, difficulty=difficulty)
        test = patterns("test", 200, 16, difficulty=difficulty)
        nearest = torch.cdist(test.images.flatten(1), train.images.flatten(1)).argmin(1)
        return (train.labels[nearest] == test.labels).float().mean().item()

    easy, middle, hard = map(accuracy, (0.0, 0.5, 1.0))
    assert easy > middle > hard


def test_classes_can_be_named_and_combined():
    assert patterns(count=2, classes=("ring", "star")).classes == ("ring", "star")
    pairs = patterns(count=4, by=("shape", "colour"), classes=("disc, red", "ring, blue"))
    assert pairs.classes == ("disc, red", "ring, blue")
    assert len(SHAPES) == 14 and len(TEXTURES) == len(COLOURS) == 8
    assert repr(pairs) == "patterns by shape and colour (train): 4 images 3×32×32, 2 classes"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "all"}, "split 'all' is none of train, validation, test"),
        ({"count": 0}, "count 0 is below 1 picture"),
        ({"size": 8}, "size 8 is not within 16 to 64 pixels"),
        ({"difficulty": 1.5}, "difficulty 1.5 is not within 0 to 1"),
        ({"seed": -1}, "seed -1 is not within 0 to 4294967295"),
        ({"by": "taste"}, "by 'taste' is none of shape, texture, colour"),
        ({"classes": 15}, "classes 15 is not within 2 to 14, all that there are by shape"),
        (
            {"classes": ["red"], "by": "texture"},
            "class 'red' is none of plain, stripes, checks, dots, grid, zigzag, circles, fade",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(options, message):
    with pytest.raises(ValueError) as error:
        patterns(**options)
    assert str(error.value) == message
