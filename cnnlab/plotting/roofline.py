"""What a processor can reach at most, by how often a byte that was fetched is used."""

from collections.abc import Mapping, Sequence

import numpy as np

from cnnlab.plotting.picture import Picture
from cnnlab.plotting.style import COLOURS, new_figure, style

__all__ = ["roofline"]


@style()
def roofline(
    processors: Mapping[str, tuple[float, float]], work: Mapping[str, Sequence[float]]
) -> Picture:
    """The roofs of processors, and below them where pieces of work stand.

    A roof rises with the bandwidth of the memory and ends at the peak of the arithmetic; left of
    the ridge between them the memory sets the pace, right of it the arithmetic. Williams, Waterman
    and Patterson, "Roofline: an insightful visual performance model", 2009.

    Parameters
    ----------
    processors
        Name, and memory bandwidth in bytes/s and peak in FLOP/s.
    work
        Name of a kind of work, and the intensities of its pieces in FLOPs a byte.

    Raises
    ------
    ValueError
        If a kind of work has no pieces, or an intensity is not above 0.
    """
    for name, intensities in work.items():
        if not intensities or min(intensities) <= 0:
            raise ValueError(f"{name!r} needs intensities above 0, not {list(intensities)}")
    everything = [i for intensities in work.values() for i in intensities]
    ridges = {name: peak / bandwidth for name, (bandwidth, peak) in processors.items()}
    low, high = min(everything + list(ridges.values())), max(everything + list(ridges.values()))
    span = np.geomspace(low / 3, high * 3, 200)
    figure = new_figure(11, 4.2 + 0.34 * len(work))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.6, 0.34 * len(work) + 0.5])
    for name, (bandwidth, peak) in processors.items():
        roof = np.minimum(bandwidth * span, peak) / 1e12
        (line,) = above.loglog(span, roof, label=f"{name}: ridge at {ridges[name]:.0f}")
        below.axvline(ridges[name], color=line.get_color(), ls=line.get_linestyle(), lw=1.5)
    above.set(ylabel="at most [TFLOP/s]")
    above.legend(loc="lower right")
    for row, intensities in enumerate(work.values()):
        below.plot(
            intensities, [row] * len(intensities), "o", color=COLOURS["black"], alpha=0.35, ls=""
        )
    below.set_yticks(range(len(work)), work)
    below.set(xlabel="FLOPs for each byte that is moved", ylim=(len(work) - 0.4, -0.6))
    return Picture.from_figure(figure, _words(ridges, work))


def _words(ridges: Mapping[str, float], work: Mapping[str, Sequence[float]]) -> str:
    roofs = "; ".join(f"{name} has its ridge at {ridge:.1f}" for name, ridge in ridges.items())
    parts = "; ".join(
        f"{name}: {len(values)} between {min(values):.2g} and {max(values):.3g}"
        for name, values in work.items()
    )
    return f"Rooflines over FLOPs a byte. {roofs}. Below them, {parts}."
