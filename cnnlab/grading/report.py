"""What a class did: one page for the instructor, and a page for each student behind it.

The pages are plain HTML that needs no network and can be read without a script. Their one script
sorts, filters and exports the class's table; the pages' policy allows no other, by hash.
"""

import base64
import hashlib
import html
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, median
from urllib.parse import quote_from_bytes

from cnnlab.grading.intake import printable
from cnnlab.grading.leaderboard import leaderboard

__all__ = ["write_class_report", "write_student_page"]

HERE = Path(__file__).parent
STYLE = (HERE / "report.css").read_text(encoding="utf-8")
SCRIPT = (HERE / "report.js").read_text(encoding="utf-8")
SIGNS = ("evidence", "to_read", "refused_files")
SHOWN = 200  # of a kind of thing that a human should look at
# What marks a submission, with its words: those that come first need a human.
STATES = {
    "failed": "not graded",
    "read": "to be read",
    "signs": "signs of trouble",
    "timeout": "timed out",
    "late": "late",
    "blank": "not written",
    "absent": "nothing handed in",
}
FORMGRADER = "http://localhost:8888/formgrader"  # until a server or the script knows better


def write_class_report(
    path: Path,
    assignment: str,
    reports: Iterable[dict],
    pairs: list[tuple[float, str, str]] = (),
    said: list[str] = (),
    running: tuple[int, int] | None = None,
) -> None:
    """Write the page.

    Parameters
    ----------
    reports : one dict a student
        As the coordinator writes them, with what the gradebook says now (``standing``), the
        student's ``name`` and whether there is ``feedback``; one who has handed in nothing has
        ``absent``, a sentence, instead.
    pairs : how alike, and which two students
    said : what intake left out
    running : how many are graded, of how many; while grading goes on the page loads itself again
    """
    class_ = _Class()
    for report in reports:
        class_.add(report)
    title = escape(assignment)
    body = [
        f"<h1>{title}</h1>",
        _progress(running),
        class_.summary(),
        "<section><h2>Needs a human</h2>",
        class_.for_a_human(pairs, said),
        "</section><section><h2>Students</h2>",
        class_.table(),
        "</section><div class=two><section><h2>Tasks</h2>",
        class_.by_task(),
        "</section><section>",
        class_.distribution(),
        f"</section></div>{leaderboard(class_.figures)}<script>{SCRIPT}</script>",
    ]
    again = "<meta http-equiv=refresh content=10>" if running else ""
    _write(path, title, again, body)


def write_student_page(path: Path, report: dict) -> None:
    """What was found in one submission: verdicts, part by part, and what somebody should know."""
    who, standing = report["student"], report.get("standing")
    name, when = report.get("name") or "", report["when"][:16].replace("T", " at ")
    rows = [
        f"<tr><th scope=row>{escape(v['task'])}<td class=n>{v['points']:g} of {v['max_points']:g}"
        f"<td class=wide>{_parts(v)}<td class=wide>"
        + escape(": ".join(filter(None, (v["misconception"], v["problem"]))))
        for v in report.get("tasks", {}).values()
    ]
    listed = [
        ("Not graded", [report["problem"]] if report["problem"] else []),
        ("To be read by a person", standing.waiting if standing else []),
        ("Not written", report.get("blank", [])),
        ("Took too long", report.get("timed_out", [])),
        ("Signs of trouble, which change no score", report.get("evidence", [])),
        ("Look at", report.get("to_read", [])),
        ("Files that were not used", report.get("refused_files", [])),
        ("Repaired from the release", report.get("repaired", [])),
    ]
    body = [
        f"<p>← <a href='../class.html'>{escape(report['assignment'])}, the whole class</a>",
        f"<h1>{escape(who)} <small>{escape(name)}</small></h1>",
        f"<p>{_marks(report)}",
        f"<p>{_points(report)}. Graded on {escape(when)} UTC; it took "
        f"{report.get('seconds', {}).get('total', 0):.1f} s.",
        f"<p>{_links(report, '../../..')}",
        "<table class=rows><thead><tr><th>task<th class=n>points<th>parts<th>what was wrong"
        f"</thead><tbody>{''.join(rows)}</tbody></table>",
        *(
            f"<h2>{title}</h2><ul>{''.join(f'<li>{escape(s)}' for s in sentences[:SHOWN])}</ul>"
            for title, sentences in listed
            if sentences
        ),
        f"<script>{SCRIPT}</script>",
    ]
    path.parent.mkdir(exist_ok=True)
    _write(path, escape(who), "", body)


def _write(path: Path, title: str, head: str, body: list[str]) -> None:
    policy = f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)}"
    page = (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        "<meta name=viewport content='width=device-width'><meta name=color-scheme "
        f"content='light dark'>{head}<title>{title}</title><style>{STYLE}</style></head><body>"
        + "\n".join(body)
        + "</body></html>\n"
    )
    part = path.with_suffix(".part")
    part.write_text(page, encoding="utf-8")
    part.replace(path)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def escape(text: object) -> str:
    return html.escape(printable(text))


def _address(*parts: str) -> str:
    """A relative address, whatever bytes a student's name consists of."""
    return "/".join(quote_from_bytes(part.encode("utf-8", "surrogateescape")) for part in parts)


def states(report: dict) -> list[str]:
    """What marks a submission, of `STATES`."""
    standing = report.get("standing")
    holds = {
        "failed": bool(report.get("problem")),
        "read": bool(standing and standing.waiting),
        "signs": any(report.get(key) for key in SIGNS),
        "timeout": bool(report.get("timed_out")),
        "late": bool(standing and standing.late > 0),
        "blank": bool(report.get("blank")),
        "absent": bool(report.get("absent")) and not report.get("problem"),
    }
    return [state for state in STATES if holds[state]]


def _marks(report: dict) -> str:
    marks = []
    for state in states(report):
        words = STATES[state]
        if state == "late":
            words += f" {_duration(report['standing'].late)}"
        if state in ("blank", "timeout"):
            words += f" ({len(report['blank' if state == 'blank' else 'timed_out'])})"
        marks.append(f"<span class='mark {state}'>{words}</span>")
    return " ".join(marks) or "<span class='mark'>graded</span>"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size or unit == "min":
            return f"{seconds / size:.0f} {unit}"
    raise AssertionError


def _points(report: dict) -> str:
    standing = report.get("standing")
    if not standing:
        return "No points"
    costs = f"; lateness has cost {standing.penalty:g}" if standing.penalty else ""
    return f"{standing.score:g} of {standing.max_score:g} points{costs}"


def _parts(verdict: dict) -> str:
    return "; ".join(
        f"{escape(part['name'])} {part['earned']:g}/{part['points']:g}" for part in verdict["parts"]
    )


def _links(report: dict, up: str) -> str:
    who, assignment = report["student"], report["assignment"]
    there = f"manage_students/{_address(who, assignment)}"
    links = [f"<a data-formgrader='{there}' href='{FORMGRADER}/{there}'>formgrader</a>"]
    if page := report.get("feedback"):
        links.append(f"<a href='{up}/{_address(*Path(page).parts)}'>feedback</a>")
    return " ".join(links) if not report.get("absent") else ""


def _progress(running: tuple[int, int] | None) -> str:
    if not running:
        return ""
    done, all_ = running
    return (
        f"<p class=running role=status><progress max={all_} value={done}></progress> Grading goes "
        f"on: {done:,} of {all_:,}. This page loads itself again every 10 seconds."
    )


class _Class:
    """What is counted over all submissions, and the table's rows; no report is kept."""

    def __init__(self):
        self.rows: list[tuple] = []
        self.scores: list[float] = []
        self.most, self.graded, self.handed_in = 1.0, 0, 0
        self.seconds: list[float] = []
        self.counts: Counter = Counter()
        self.marked: dict[str, list[str]] = defaultdict(list)
        self.by_hand: Counter = Counter()
        self.tasks: dict[str, dict] = {}
        self.figures: dict[str, dict] = defaultdict(dict)

    def add(self, report: dict) -> None:
        found = states(report)
        self.counts.update(found or ["done"])
        who = self._link(report["student"]) if not report.get("absent") else ""
        self.handed_in += not report.get("absent")
        if not report.get("absent"):
            if why := report["problem"]:
                self.marked["failed"].append(f"<b>{who}</b> was not graded: {escape(why)}")
            else:
                self._count(report)
        if signs := [s for key in SIGNS for s in report.get(key, [])]:
            listed = "".join(f"<li>{escape(sign)}" for sign in signs[:20])
            self.marked["signs"].append(f"<b>{who}</b><ul>{listed}</ul>")
        if "timeout" in found:
            what = ", ".join(map(escape, report["timed_out"][:5]))
            self.marked["timeout"].append(f"<b>{who}</b>: {what} took too long")
        self._add_row(report, found)

    def _count(self, report: dict) -> None:
        self.graded += 1
        standing = report.get("standing")
        self.seconds.append(report["seconds"].get("total", 0))
        if standing:
            self.scores.append(standing.score)
            self.most = standing.max_score or 1.0
            self.by_hand.update(standing.waiting)
        for name, verdict in report["tasks"].items():
            task = self.tasks.setdefault(
                name,
                {"max": verdict["max_points"], "shares": [], "wrong": Counter(), "lost": Counter()},
            )
            task["shares"].append(verdict["points"] / verdict["max_points"])
            if verdict["points"] < verdict["max_points"]:
                blank = f"{name}-answer" in report.get("blank", ())
                task["wrong"]["not written" if blank else verdict["misconception"] or "other"] += 1
            lost = [part["name"] for part in verdict["parts"] if part["earned"] < part["points"]]
            task["lost"].update(lost if len(verdict["parts"]) > 1 else [])
            if verdict.get("figures"):
                self.figures[name][report["student"]] = verdict["figures"]

    def _link(self, student: str) -> str:
        return f"<a href='students/{_address(f'{student}.html')}'>{escape(student)}</a>"

    def _add_row(self, report: dict, found: list[str]) -> None:
        student, standing = report["student"], report.get("standing")
        absent = report.get("absent")
        urgent = min((list(STATES).index(state) for state in found), default=len(STATES))
        points = f"{standing.score:g}" if standing else ""
        lost = [
            f"{escape(name)} {v['points']:g}/{v['max_points']:g}"
            for name, v in report.get("tasks", {}).items()
            if v["points"] < v["max_points"]
        ]
        words = escape(absent or report.get("problem") or "") or ", ".join(lost)
        seconds = report.get("seconds", {}).get("total")
        cells = (
            ("student", student, escape(student) if absent else self._link(student), ""),
            ("name", report.get("name") or "", escape(report.get("name") or ""), ""),
            ("points", points or -1, f"{points or '–'}", "n"),
            ("state", urgent, _marks(report), ""),
            ("lost", len(lost), words, "wide"),
            ("time", seconds or -1, f"{seconds:.1f} s" if seconds else "–", "n"),
            ("links", "", _links(report, "../.."), ""),
        )
        row = "".join(
            f"<td class='{kind}' data-th='{key}' data-v='{escape(value)}'>{shown}</td>"
            for key, value, shown, kind in cells
        )
        self.rows.append((urgent, student, f"<tr data-states='{' '.join(found)}'>{row}</tr>"))

    def summary(self) -> str:
        what = "submission" if self.handed_in == 1 else "submissions"
        told = f"<p>{self.handed_in:,} {what}, {self.graded:,} graded. "
        if not self.scores:
            return told + "None could be graded.</p>"
        return told + (
            f"Points: median {median(self.scores):g} of {self.most:g}, mean "
            f"{mean(self.scores):.1f}. Grading took {mean(self.seconds):.1f} s a submission, "
            f"{max(self.seconds):.1f} s at most.</p>"
        )

    def for_a_human(self, pairs, said) -> str:
        reading = [
            f"<b>{escape(name)}</b>: {count:,} to be marked in formgrader"
            for name, count in self.by_hand.items()
        ]
        alike = [
            f"<b>{self._link(a)}</b> and <b>{self._link(b)}</b> are alike: {share:.0%} of what the "
            "shorter one has beyond the release"
            for share, a, b in pairs
        ]
        groups = (
            ("Not graded", self.marked["failed"]),
            ("Left out when they were collected", [escape(sentence) for sentence in said]),
            ("Written answers to read", reading),
            ("Signs of trouble, which change no score", self.marked["signs"]),
            ("Took too long", self.marked["timeout"]),
            ("Alike", alike),
        )
        shown = [
            f"<details{' open' if len(items) <= 12 else ''}><summary>{title} "
            f"<span class=count>{len(items)}</span></summary><ul>"
            + "".join(f"<li>{item}" for item in items[:SHOWN])
            + (f"<li>and {len(items) - SHOWN:,} more: see the table" * (len(items) > SHOWN))
            + "</ul></details>"
            for title, items in groups
            if items
        ]
        return "".join(shown) or "<p>Nothing.</p>"

    def table(self) -> str:
        chips = "".join(
            f"<label class='mark {state}'><input type=checkbox value={state}> {words} "
            f"{self.counts[state]:,}</label>"
            for state, words in STATES.items()
            if self.counts[state]
        )
        tools = (
            "<form class=tools hidden><input type=search name=text placeholder='Find a student' "
            f"aria-label='Find a student'>{chips}<output></output>"
            "<button type=button value=csv>Export CSV</button>"
            "<button type=button value=json>Export JSON</button></form>"
        )
        heads = "".join(
            f"<th scope=col class='{kind}' aria-sort=none><button type=button>{words}</button>"
            for words, kind in (
                ("student", ""), ("name", ""), ("points", "n"), ("state", ""),
                ("points lost", ""), ("time", "n"),
            )
        )  # fmt: skip
        rows = "\n".join(row for _, _, row in sorted(self.rows))
        return (
            f"{tools}<table class='class rows'><thead><tr>{heads}<th scope=col>open</thead>"
            f"<tbody>{rows}</tbody></table>"
        )

    def by_task(self) -> str:
        rows = []
        for name, task in self.tasks.items():
            share = mean(task["shares"])
            wrong = task["wrong"].most_common(4)
            why = "; ".join(f"{escape(m)} ({n})" for m, n in wrong)
            parts = "; ".join(f"{escape(part)} ({n})" for part, n in task["lost"].items())
            rows.append(
                f"<tr><th scope=row>{escape(name)}<td class=n>{task['max']:g}"
                f"<td class=share><meter value={share:.3f}></meter> {share:.0%}<td class=wide>{why}"
                + (f"<br><small>points lost at: {parts}</small>" if parts else "")
            )
        head = "<thead><tr><th>task<th class=n>points<th>earned<th>what was wrong</thead>"
        return f"<table class=rows>{head}<tbody>{''.join(rows)}</tbody></table>"

    def distribution(self) -> str:
        counts = Counter(min(int(10 * score / self.most), 9) for score in self.scores)
        top = max(counts.values(), default=1)
        rows = "".join(
            f"<tr><td class=n>{10 * i}–{10 * (i + 1)} %<td><meter max={top} value={counts[i]}>"
            f"</meter><td class=n>{counts[i]}"
            for i in range(10)
        )
        head = "<thead><tr><th class=n>of the points<th><th class=n>submissions</thead>"
        return f"<h2>Scores</h2><table class=narrow>{head}<tbody>{rows}</tbody></table>"
