"""The roofline: its words carry its numbers."""

import pytest

from cnnlab.plotting import roofline


def test_its_words_say_where_the_ridge_and_the_work_are():
    picture = roofline({"card": (200e9, 1.6e12)}, {"a layer": [0.5, 40], "another": [3]})
    assert "card has its ridge at 8.0" in picture.alt
    assert "a layer: 2 between 0.5 and 40" in picture.alt
    assert "another: 1 between 3 and 3" in picture.alt


@pytest.mark.parametrize("intensities", [[], [2, 0], [-1]])
def test_work_without_an_intensity_is_refused(intensities):
    with pytest.raises(ValueError, match="'copy' needs intensities above 0"):
        roofline({"card": (1, 1)}, {"copy": intensities})
