import pytest
import torch

from cnnlab.data import photograph
from cnnlab.experiments.filters import mosaic, patch_filters


def test_it_finds_the_bars_that_images_are_made_of():
    generator = torch.Generator().manual_seed(0)
    bars = torch.zeros(12, 1, 6, 6)
    for i in range(6):
        bars[i, 0, i], bars[6 + i, 0, :, i] = 1, 1
    amounts = torch.distributions.Laplace(0, 1).icdf(torch.rand(4000, 12, generator=generator))
    patches = torch.tensordot(amounts.clamp(-9, 9), bars, dims=1)
    images = list(patches)
    found = patch_filters(images, size=6, count=10, patches=4000)
    flat, truth = found.flatten(1), bars.flatten(1).double()
    truth = truth - truth.mean(1, keepdim=True)
    likeness = torch.nn.functional.cosine_similarity(flat[:, None], truth[None], dim=2).abs()
    assert (likeness.amax(1) > 0.85).sum() >= 8


def test_patterns_of_a_photograph_are_repeatable_and_see_colour():
    first, again = (patch_filters([photograph("flower", 80)], 7, 12, 1500) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (12, 3, 7, 7)
    assert first.std(1).mean() > 0  # the three channels differ


def test_more_patterns_than_numbers_in_a_patch_are_refused():
    with pytest.raises(ValueError, match="count 75 must be between 1 and 74"):
        patch_filters([photograph("china", 40)], size=5, count=75)


def test_a_mosaic_holds_every_filter():
    filters = torch.randn(5, 3, 4, 4)
    image = mosaic(filters, columns=3)
    assert image.shape == (3, 12, 18)
    assert image.min() >= 0 and image.max() <= 1
    second = image[:, 1:5, 7:11] - 0.5
    assert torch.allclose(second * 2 * filters[1].abs().max(), filters[1], atol=1e-5)
