"""What a class did, on one page for the instructor."""

import html
from collections import Counter, defaultdict
from pathlib import Path
from statistics import mean, median

from cnnlab.grading.intake import printable
from cnnlab.grading.leaderboard import leaderboard

__all__ = ["write_class_report"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'"

SIGNS = ("evidence", "to_read", "refused_files")
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
       color: #1b1b1b; background: #fff }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #ddd;
         vertical-align: top } td.n, th.n { text-align: right; white-space: nowrap }
.bar { display: inline-block; background: #2a6f97; height: .8rem; vertical-align: middle }
.track { background: #e8eef2; width: 12rem; line-height: 0 }
li { margin: .2rem 0 }
"""


def write_class_report(
    path: Path,
    assignment: str,
    reports: list[dict],
    pairs: list[tuple[float, str, str]] = (),
    said: list[str] = (),
) -> None:
    """Write the page.

    Parameters
    ----------
    reports : one dict a submission, as the coordinator writes them
    pairs : how alike, and which two students
    said : what intake left out
    """
    graded = [r for r in reports if not r["problem"]]
    scores = {r["student"]: sum(v or 0 for v in r["scores"].values()) for r in graded}
    most = sum(t["max_points"] for t in _tasks(graded).values()) or 1
    body = [
        f"<h1>{escape(assignment)}: {len(reports)} submissions</h1>",
        _summary(graded, scores, most),
        _distribution(scores, most),
        "<h2>Needs a human</h2>",
        _for_a_human(reports, pairs, said),
        "<h2>Tasks</h2>",
        _by_task(graded),
        leaderboard(_figures(graded)),
        "<h2>Submissions</h2>",
        _by_student(graded, scores),
    ]
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(assignment)}</title>"
    page += f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    page += f"<style>{STYLE}</style>" + "\n".join(body)
    part = path.with_suffix(".part")
    part.write_text(page, encoding="utf-8")
    part.replace(path)


def escape(text: object) -> str:
    return html.escape(printable(text))


def _tasks(reports: list[dict]) -> dict[str, dict]:
    return {name: task for r in reports for name, task in r["tasks"].items()}


def _figures(reports: list[dict]) -> dict[str, dict[str, dict]]:
    found: dict[str, dict[str, dict]] = {}
    for report in reports:
        for name, task in report["tasks"].items():
            if task.get("figures"):
                found.setdefault(name, {})[report["student"]] = task["figures"]
    return found


def _summary(graded: list[dict], scores: dict, most: float) -> str:
    if not scores:
        return "<p>None could be graded.</p>"
    seconds = [r["seconds"].get("total", 0) for r in graded]
    return (
        f"<p>Points given automatically: median {median(scores.values()):g} of {most:g}, mean "
        f"{mean(scores.values()):.1f}. Grading took {mean(seconds):.1f} s a submission, "
        f"{max(seconds):.1f} s at most.</p>"
    )


def _distribution(scores: dict, most: float) -> str:
    counts = Counter(min(int(10 * score / most), 9) for score in scores.values())
    top = max(counts.values(), default=1)
    rows = [
        f"<tr><td class=n>{10 * i}–{10 * (i + 1)} %<td>{_bar(counts[i] / top)}"
        f"<td class=n>{counts[i]}"
        for i in range(10)
    ]
    return (
        "<h2>Scores</h2><table style='width:auto'><tr><th class=n>of the points<th>"
        "<th class=n>submissions" + "".join(rows) + "</table>"
    )


def _bar(share: float) -> str:
    return f"<div class=track><span class=bar style='width:{100 * share:.0f}%'></span></div>"


def _for_a_human(reports: list[dict], pairs, said) -> str:
    items = [f"<li><b>{escape(r['student'])}</b> was not graded: {escape(r['problem'])}"
             for r in reports if r["problem"]]  # fmt: skip
    for report in reports:
        signs = [s for key in SIGNS for s in report.get(key, [])]
        if signs:
            listed = "".join(f"<li>{escape(sign)}" for sign in signs[:20])
            items.append(f"<li><b>{escape(report['student'])}</b><ul>{listed}</ul>")
    items += [
        f"<li><b>{escape(a)}</b> and <b>{escape(b)}</b> are alike: {share:.0%} of what the "
        "shorter one has beyond the release"
        for share, a, b in pairs
    ]
    items += [f"<li>{escape(sentence)}" for sentence in said]
    by_hand = Counter(name for r in reports for name, v in r["scores"].items() if v is None)
    items += [
        f"<li><b>{escape(name)}</b> is marked by hand in formgrader: {count} submissions"
        for name, count in by_hand.items()
    ]
    return f"<ul>{''.join(items)}</ul>" if items else "<p>Nothing.</p>"


def _by_task(graded: list[dict]) -> str:
    rows = []
    for name, task in _tasks(graded).items():
        found = [r["tasks"][name] for r in graded if name in r["tasks"]]
        share = mean(t["points"] / t["max_points"] for t in found)
        wrong = Counter(t["misconception"] or "" for t in found if t["points"] < t["max_points"])
        why = ", ".join(f"{escape(m or 'other')} ({n})" for m, n in wrong.most_common(4))
        rows.append(
            f"<tr><td>{escape(name)}<td class=n>{task['max_points']:g}<td>{_bar(share)}"
            f"<td class=n>{share:.0%}<td>{why}"
        )
        lost: dict = defaultdict(int)
        for verdict in found:
            for part in verdict["parts"]:
                lost[part["name"]] += part["earned"] < part["points"]
        if len(lost) > 1:
            parts = "; ".join(f"{escape(part)}: {n} without" for part, n in lost.items() if n)
            rows[-1] += f"<br><small>{parts}</small>"
    head = "<tr><th>task<th class=n>points<th><th class=n>earned<th>what was wrong"
    return f"<table>{head}{''.join(rows)}</table>"


def _by_student(graded: list[dict], scores: dict) -> str:
    rows = [
        f"<tr><td>{escape(r['student'])}<td class=n>{scores[r['student']]:g}"
        f"<td class=n>{r['seconds'].get('total', 0):.1f} s"
        f"<td>{escape('; '.join(r.get('repaired', [])[:5]))}"
        for r in graded
    ]
    head = "<tr><th>student<th class=n>points<th class=n>time<th>repaired from the release"
    return f"<table>{head}{''.join(rows)}</table>"
