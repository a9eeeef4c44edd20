"""Answers compared by numbers that their judge reported, as a picture and as a table.

The first of a task's figures goes up (accuracy), the second to the right, where it should be small
(MACs). On the frontier lies what nothing else is as good as at no more of the second.
"""

import html
import math

from cnnlab.grading.intake import printable

__all__ = ["chart", "frontier", "leaderboard"]

WIDTH, HEIGHT, LEFT, TOP, BELOW = 480, 320, 60, 26, 45  # readable at a phone's width


def frontier(dots: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (x, y) those that no other has beaten: none at most as far right is as high or higher."""
    best: list[tuple[float, float]] = []
    for x, y in sorted(dots, key=lambda dot: (dot[0], -dot[1])):
        if not best or y > best[-1][1]:
            best.append((x, y))
    return best


def chart(
    dots: dict[str, tuple[float, float]],
    line: list[tuple[float, float]],
    axes: tuple[str, str],
    legend: str,
) -> str:
    """An SVG picture: named dots, and a line up the stairs through the corners of ``line``."""
    everything = [*dots.values(), *line]
    low, high = (f(math.log10(max(x, 1)) for x, _ in everything) for f in (min, max))
    low, high = low - 0.15, high + 0.15
    floor = min(y for _, y in everything)
    floor = max(0.0, floor - 0.15 * (1 - floor) - 0.005)

    def place(x: float, y: float) -> tuple[float, float]:
        right = (math.log10(max(x, 1)) - low) / (high - low)
        up = (y - floor) / (1 - floor)
        return LEFT + right * (WIDTH - LEFT - 20), (HEIGHT - BELOW) * (1 - up) + TOP * up

    path, last = [], None
    for x, y in (place(*corner) for corner in sorted(line)):
        path += [f"L{x:.0f} {last:.0f}L{x:.0f} {y:.0f}" if path else f"M{x:.0f} {y:.0f}"]
        last = y
    if path:
        path += [f"L{WIDTH - 20} {last:.0f}"]
    shown = [f'<path d="{"".join(path)}" fill="none" stroke="#c44f00" stroke-width="2"/>']
    free = 0.0
    for x in (n * 10**e for e in range(int(low), int(high) + 1) for n in (1, 2, 5)):
        if low <= math.log10(x) <= high and (at := place(x, 0)[0]) >= free:
            shown.append(_text(at, HEIGHT - BELOW + 20, _short(x), "middle"))
            free = at + 48
    step = next(s for s in (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if (1 - floor) / s < 7)
    for y in (1 - n * step for n in range(int((1 - floor) / step + 1e-6) + 1)):
        shown.append(_text(LEFT - 8, place(1, y)[1] + 4, f"{100 * y:.4g} %", "end"))
    for name, dot in dots.items():
        x, y = place(*dot)
        if dot in line:  # above the line, to the side where there is more room
            short = name if len(name) <= 14 else f"{name[:13]}…"
            shown.append(_text(x, y - 9, short, "start" if x < WIDTH / 2 else "end"))
        told = _plain(f"{name}: {axes[1]} {dot[1]:.2%}, {dot[0]:,} {axes[0]}")
        shown.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#2d86c9"><title>{told}</title></circle>'
        )
    shown.append(_text(WIDTH - 20, HEIGHT - 6, f"{axes[0]} · line: {legend}", "end"))
    shown.append(_text(LEFT, TOP - 9, axes[1], "start"))
    head = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" font-family="sans-serif" font-size="13"'
    frame = f'width="{WIDTH - LEFT - 20}" height="{HEIGHT - BELOW - TOP}" fill="none" stroke="#888"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {head} '
        f'aria-label="{_plain(axes[1])} against {_plain(axes[0])}">'
        f'<rect x="{LEFT}" y="{TOP}" {frame}/>{"".join(shown)}</svg>'
    )


def _short(number: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number // size} {unit}"
    return str(number)


def _plain(text: object) -> str:
    return html.escape(printable(text))


def _text(x: float, y: float, text: str, anchor: str) -> str:
    place = f'x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="currentColor"'
    return f"<text {place}>{_plain(text)}</text>"


def leaderboard(figures: dict[str, dict[str, dict]]) -> str:
    """For the class report: a picture and a table for each task of which there are figures.

    Parameters
    ----------
    figures : what the judge reported, by task and student
    """
    return "".join(_of_task(task, found) for task, found in figures.items())


def _of_task(task: str, figures: dict[str, dict]) -> str:
    up, right, *_ = names = list(next(iter(figures.values())))
    dots = {student: (f[right], f[up]) for student, f in figures.items()}
    best = frontier(list(dots.values()))
    on = "<span class='mark read'>frontier</span>"
    rows = [
        f"<tr><td>{_plain(student)} {on * (dots[student] in best)}"
        f"<td class=n>{f[up]:.2%}" + "".join(f"<td class=n>{f[name]:,}" for name in names[1:])
        for student, f in sorted(figures.items(), key=lambda item: dots[item[0]])
    ]
    head = "<tr><th>student"
    head += "".join(f"<th class=n>{_plain(name)}" for name in names)
    return (
        f"<h2>{_plain(task)}: {_plain(up)} against {_plain(right)}</h2>"
        f"{chart(dots, best, (right, up), 'the frontier')}"
        f"<table class=board>{head}{''.join(rows)}</table>"
    )
