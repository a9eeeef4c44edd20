"""The contract of a task: what earns points, and what a student reads otherwise."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from cnnlab.answers import answer
from cnnlab.assignments import get_task
from cnnlab.checks import Case, Misconception, Task, examine, judge, seed_for
from cnnlab.checks.compare import difference


def double_cases(rng):
    yield Case("small", (torch.from_numpy(rng.normal(size=(2, 2))),))
    yield Case("large", (torch.from_numpy(rng.normal(size=(30, 30))),), {"shift": 1.0})


def double(x, shift=0.0):
    return 2 * x + shift


DOUBLE = Task(
    id="t-double",
    kind="function",
    entry="double",
    points={"small": 2, "large": 3},
    reference=double,
    cases=double_cases,
    misconceptions=(
        Misconception("squared", lambda x, shift=0.0: x**2 + shift, "Double it, do not square it."),
        Misconception("shift ignored", lambda x, shift=0.0: 2 * x, "Add the shift."),
    ),
    forbidden=("loop", "flip", "argsort"),
)
NUMBERS = Task(
    id="t-numbers",
    kind="value",
    entry="numbers",
    points={"a": 1, "b": 2},
    reference=lambda: {"a": 3, "b": 0.5},
    misconceptions=(Misconception("b doubled", lambda: {"a": 3, "b": 1.0}, "Halve b."),),
)


def verdict(entry=None, task=DOUBLE):
    return examine(task, {} if entry is None else {task.entry: entry})


def run_cell(source: str) -> dict:
    """The names that a notebook's cell defines, with its source known to ``inspect``."""
    import linecache

    name = f"<cell {hash(source)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    namespace = {"__name__": "__main__", "torch": torch}
    exec(compile(source, name, "exec"), namespace)
    return namespace


def test_a_right_answer_earns_all_points():
    assert verdict(double).points == 5
    assert verdict(double).text() == "t-double: 5 of 5 points"


@pytest.mark.parametrize(
    "right",
    [
        lambda x, shift=0.0: (2 * x + shift).float(),
        lambda x, shift=0.0: (x + x + shift).requires_grad_(),
        lambda x, shift=0.0: (2 * x + shift).T.contiguous().T,
    ],
)
def test_precision_gradients_and_layout_do_not_matter(right):
    assert verdict(right).points == 5


def test_a_part_is_earned_when_all_its_cases_are_right():
    found = verdict(lambda x, shift=0.0: 2 * x)
    assert (found.points, found.misconception) == (2, "shift ignored")
    assert "✓ small (2)" in found.text() and "✗ large (3)" in found.text()
    assert "Hint: Add the shift." in found.text()


def test_the_misconception_must_explain_every_case():
    found = verdict(lambda x, shift=0.0: x**2 + shift if len(x) == 2 else 2 * x + shift)
    assert (found.points, found.misconception) == (3, None)


def test_or_all_of_the_first_part_that_is_wrong_and_more_than_one_of_its_cases():
    def cases(rng):
        for part, size in (("small", 2), ("small", 3), ("large", 30)):
            yield Case(part, (torch.from_numpy(rng.normal(size=size)),), {"shift": 1.0})

    def but(*sizes):
        return lambda x, shift: 2 * x if len(x) in sizes else 3 * x + shift

    task = replace(DOUBLE, cases=cases)
    assert verdict(but(2, 3), task).misconception == "shift ignored"
    assert verdict(but(2), task).misconception is None
    assert verdict(lambda x, shift: 2 * x + shift * (len(x) > 2), task).misconception is None


def test_an_infinite_number_is_like_itself_only():
    infinite = math.inf, torch.tensor(math.inf), np.float64(math.inf)
    assert [bool(difference(math.inf, given, 1e-4, 1e-6)) for given in infinite] == [False] * 3
    assert difference(math.inf, 27.6, 1e-4, 1e-6) == "expected inf, got 27.6"
    assert difference(-math.inf, math.inf, 1e-4, 1e-6)


def broken(x, shift=0.0):
    raise ValueError("no idea")


def change_input(x, shift=0.0):
    x *= 2
    return x + shift


class AlwaysEqual:
    def __eq__(self, other):
        return True

    def __float__(self):
        return 1.0


class LyingTensor(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return torch.tensor(True)


@pytest.mark.parametrize(
    "answer, words",
    [
        (None, "`double` is not defined: its cell was not run"),
        (3, "no longer a function (it is of type int)"),
        (broken, "raised ValueError: no idea (at `raise ValueError"),
        (lambda: 0, "raised TypeError"),
        (lambda x, shift=0.0: None, "returned None: is a `return` missing?"),
        (lambda x, shift=0.0: x.numpy() * 2, "expected a tensor, got 2×2 NumPy array"),
        (lambda x, shift=0.0: (2 * x).tolist(), "expected a tensor, got list of 2"),
        (lambda x, shift=0.0: 2 * x[0], "expected shape (2, 2), got (2,)"),
        (lambda x, shift=0.0: 2 * x + 1e-3, "4 of 4 values are wrong; at [0, 0] expected"),
        (lambda x, shift=0.0: x * torch.nan, "4 of 4 values are not finite, the first at [0, 0]"),
        (lambda x, shift=0.0: x * (1 + 1j), "got complex ones"),
        (
            lambda x, shift=0.0: AlwaysEqual(),
            "expected a tensor, got an object of type AlwaysEqual",
        ),
        (lambda x, shift=0.0: torch.zeros(1).expand(10**9), "larger than 64 MiB"),
        (change_input, "changed its input: work on a copy"),
    ],
)
def test_a_wrong_answer_earns_nothing_and_is_told_why(answer, words):
    found = verdict(answer)
    assert found.points == 0
    assert words in " ".join(found.text().split())
    assert max(map(len, found.text().splitlines())) <= 88


def test_a_tensor_subclass_that_lies_gains_nothing():
    assert verdict(lambda x, shift=0.0: x.as_subclass(LyingTensor)).points == 0


def test_exiting_costs_the_case_only():
    def leave(x, shift=0.0):
        if len(x) == 2:
            raise SystemExit
        return 2 * x + shift

    assert verdict(leave).points == 3


def test_prints_and_warnings_of_an_answer_are_not_shown(capsys):
    def loud(x, shift=0.0):
        import warnings

        print("flood")
        warnings.warn("loud", stacklevel=1)
        return 2 * x + shift

    assert verdict(loud).points == 5
    assert capsys.readouterr() == ("", "")


def test_an_unwritten_answer_is_called_so():
    def double(x, shift=0.0):
        raise NotImplementedError

    assert "`double` is not written yet." in verdict(double).text()


@pytest.mark.parametrize(
    "cell, word",
    [
        ("def double(x, shift=0.0):\n    for row in x: pass\n    return 2 * x + shift", "loop"),
        ("def double(x, shift=0.0): return 2 * x.flip(0).flip(0) + shift", "`flip`"),
        ("def double(x, shift=0.0): return 2 * x.flipud().flipud() + shift", "`flip`"),
        ("def double(x, shift=0.0): return 2 * x + shift + 0 * x.argsort(0)", "`argsort`"),
        (
            "from functools import reduce\n"
            "def double(x, shift=0.0): return reduce(torch.add, [*(0 * x)], 2 * x + shift)",
            "operations of PyTorch",
        ),
        (
            "def count(n): return n and 1 + count(n - 1)\n"
            "def double(x, shift=0.0): return 2 * x + shift + 0 * count(len(x))",
            "it loops",
        ),
        (
            "def double(x, shift=0.0):\n    exec('for i in range(len(x)): pass')\n"
            "    return 2 * x + shift",
            "it loops",
        ),
        (
            "def twice(x): return torch.stack([2 * r for r in x])\n"
            "def double(x, shift=0.0): return twice(x) + shift",
            "it loops",
        ),
        ("double = lambda x, shift=0.0: torch.flip(2 * x, [0]).flip(0) + shift", "`flip`"),
    ],
)
def test_what_a_task_forbids_is_found_also_in_helpers(cell, word):
    found = examine(DOUBLE, run_cell(cell))
    assert found.points == 0 and word in found.problem


def test_a_question_with_one_tensor_more_may_take_more_steps():
    def cases(rng):
        for part, size in (("small", 2), ("large", 30)):
            x = torch.from_numpy(rng.normal(size=(size, size)))
            yield from (Case(part, (x,)), Case(part, (x,), {"shift": x + 1}))

    task = replace(DOUBLE, cases=cases)
    body = "    for _ in range({}): x = x + 0\n    return 2 * x + shift"
    cell = "def double(x, shift=None):\n    if shift is None: return 2 * x\n"
    assert examine(task, run_cell(cell + body.format("20"))).points == 5
    assert "it loops" in examine(task, run_cell(cell + body.format("len(x)"))).problem


def test_what_a_task_forbids_is_found_under_another_name():
    task = replace(DOUBLE, forbidden=("summary",))
    cell = (
        "from torch import nn\nfrom cnnlab import summary as s\n"
        "def double(x, shift=0.0): return 2 * x + shift + 0 * len(str(s(nn.ReLU(), (1, 2))))"
    )
    assert "`summary`" in examine(task, run_cell(cell)).problem


def test_a_variable_of_ones_own_may_bear_a_forbidden_name():
    cell = "def double(x, shift=0.0):\n    flip = 2 * x\n    return flip + shift"
    assert examine(DOUBLE, run_cell(cell)).points == 5


def test_a_helper_of_ones_own_may_bear_a_forbidden_name():
    cell = "def flip(x): return x + x\ndef double(x, shift=0.0): return flip(x) + shift"
    assert examine(DOUBLE, run_cell(cell)).points == 5


@pytest.mark.parametrize(
    "numbers, points, words",
    [
        ({"a": 3, "b": 0.5, "c": "more"}, 3, "3 of 3"),
        ({"a": 3.0, "b": np.float32(0.5)}, 3, "3 of 3"),
        ({"a": torch.tensor(3), "b": 0.50001}, 3, "3 of 3"),
        ({"a": 3, "b": 1.0}, 1, "Hint: Halve b."),
        ({"a": None, "b": 0.5}, 2, "`numbers['a']` is not filled in yet."),
        ({"b": 0.5}, 2, "`numbers['a']` is not filled in yet."),
        ({"a": "3", "b": float("nan")}, 0, "expected a number, got '3'"),
        ({"a": True, "b": [0.5]}, 0, "expected a number, got True"),
        ([3, 0.5], 0, "should be a dict with the keys 'a', 'b', and it is list of 2"),
    ],
)
def test_values_are_judged_key_by_key(numbers, points, words):
    found = verdict(numbers, NUMBERS)
    assert found.points == points
    assert words in found.text()


def test_the_right_value_is_not_told():
    found = verdict({"a": 4, "b": 0.25}, NUMBERS)
    assert "`numbers['a']`: 4 is not right." in found.text() and "expected" not in found.text()


@pytest.mark.parametrize(
    "row, words",
    [
        ({"side": 5, "MACs": 8}, "`table['conv1']['MACs']` is not right."),
        ({"side": 5, "MACs": None}, "`table['conv1']['MACs']` is not filled in yet."),
        ({"side": 5}, "`table['conv1']`: the key 'MACs' is missing."),
        ([5, 9], "`table['conv1']`: list of 2 is not right."),
    ],
)
def test_of_a_row_it_is_said_which_entry_is_wrong(row, words):
    def right():
        return {"conv1": {"side": 5, "MACs": 9}}

    task = Task("t-table", "value", "table", {"conv1": 2}, right)
    found = verdict({"conv1": row}, task)
    assert words in found.text() and "9" not in found.text()


def test_a_short_list_of_layers_is_shown_in_full():
    def cases(rng):
        yield Case("all", ([("conv", 3), ("pool", 2)], [torch.ones(2)]))

    task = Task("t-layers", "function", "f", {"all": 1}, lambda layers, maps: 1, cases)
    assert "`f([('conv', 3), ('pool', 2)], list of 1)`" in verdict(lambda a, b: 2, task).problem


def test_grading_asks_other_questions_than_learning_and_the_same_ones_again():
    def asked(key):
        return DOUBLE.make_cases(seed_for("t-double", key))[0].args[0]

    assert not torch.equal(asked(None), asked(b"key"))
    assert not torch.equal(asked(b"other"), asked(b"key"))
    assert torch.equal(asked(b"key"), asked(b"key"))


@pytest.mark.parametrize(
    "wrong", ["a1-pading", "a99-padding", "padding", "../a1-padding", "task-a1", ""]
)
def test_an_unknown_task_is_refused_in_words(wrong):
    with pytest.raises(KeyError, match="There is no task"):
        get_task(wrong)


def test_a_misspelled_task_names_the_nearest():
    with pytest.raises(KeyError, match="'a1-padding'"):
        get_task("a1-pading")


def test_a_task_with_a_part_that_no_case_asks_for_is_refused():
    task = Task("t-x", "function", "f", {"small": 1, "other": 1}, double, double_cases)
    with pytest.raises(ValueError, match="parts without cases or points"):
        task.make_cases(0)


@pytest.mark.parametrize(
    "disguise",
    [
        "turn = getattr(torch, 'fl' + 'ip')\n"
        "def double(x, shift=0.0): return 2 * turn(turn(x, [0]), [0]) + shift",
        "def double(x, shift=0.0):\n"
        "    with torch._C.DisableTorchFunction(): return 2 * x.flip(0).flip(0) + shift",
        "def double(x, shift=0.0): return 2 * vars(torch)['fl' + 'ip'](x, [0]).flip(0) + shift",
    ],
)
def test_a_forbidden_function_is_seen_under_any_name(disguise):
    found = examine(DOUBLE, run_cell(disguise))
    assert found.points == 0 and "`flip`" in found.problem


HELPED = Task(
    "t-helped",
    "function",
    "double",
    {"small": 2, "large": 3},
    double,
    double_cases,
)


@pytest.mark.parametrize(
    "cell, words",
    [
        (
            "def half(x): raise NotImplementedError('Write this part, then delete this line.')\n"
            "def double(x, shift=0.0): return 4 * half(x) + shift",
            "`half`, which `double` calls, is not written yet.",
        ),
        (
            "def double(x, shift=0.0):\n    y = 2 * x + shift\n    raise NotImplementedError",
            "is still in it, delete it.",
        ),
        (
            "def double(x, shift=0.0):\n"
            "    return torch.nn.functional.pad(x, [1] * 4, mode='replicate')",
            "`double(2×2 tensor)` raised NotImplementedError: ",
        ),
        (
            "class Net(torch.nn.Module):\n    def foward(self, x): return x\n"
            "def double(x, shift=0.0): return Net()(x)",
            'missing the required "forward" function',
        ),
    ],
)
def test_not_written_is_said_of_what_is_not_written(cell, words):
    assert words in examine(HELPED, run_cell(cell)).problem


def test_the_first_part_that_is_wrong_is_shown_with_its_smallest_case():
    def cases(rng):
        yield Case("first", (torch.ones(9),))
        yield Case("first", (torch.ones(5),))
        yield Case("second", (torch.ones(2),))

    task = replace(HELPED, points={"first": 1, "second": 1}, cases=cases)
    assert "length 5" in examine(task, {"double": lambda x: 3 * x}).problem


def test_places_and_numbers_are_told_as_a_person_would():
    def cases(rng):
        yield Case("all", (torch.ones(2),))

    def right(x):
        return 1 / 3, [{"size": (3, 44)}]

    task = Task("t-nested", "function", "f", {"all": 1}, right, cases)
    wrong = [
        ((0.1 + 0.2, [{"size": (3, 44)}]), "result[0]: expected 0.333333, got 0.3."),
        ((1 / 3, [{"size": (3, 4)}]), "result[1][0]['size'][1]: expected 44, got 4."),
        (torch.ones(2), "expected a list or tuple of 2 values, got tensor of length 2."),
    ]
    for value, words in wrong:
        assert words in examine(task, {"f": lambda x, value=value: value}).problem


def test_of_a_table_all_wrong_entries_are_named_and_near_names_are_told():
    found = verdict({"a": 4, "b": 0.25}, NUMBERS)
    assert "`numbers['a']`: 4 is not right. Nor is 'b'." in found.problem
    assert (
        "has a key 'A'; the one that is asked is 'a'"
        in verdict({"A": 3, "b": 0.5}, NUMBERS).problem
    )
    assert verdict({"a": 3, "b": Fraction(1, 2)}, NUMBERS).points == 3


STYLES = {
    "plain": "def double(x, shift=0.0): return 2 * x + shift",
    "a lambda": "double = lambda x, shift=0.0: x + x + shift",
    "a decorated one": (
        "from functools import wraps\n"
        "def same(f):\n    @wraps(f)\n    def g(*a, **k): return f(*a, **k)\n    return g\n"
        "@same\ndef double(x, shift=0.0): return 2 * x + shift"
    ),
    "a partial": "from functools import partial\n"
    "def line(a, x, shift=0.0): return a * x + shift\ndouble = partial(line, 2)",
    "an object": (
        "class Line:\n    def __call__(self, x, shift=0.0): return 2 * x + shift\ndouble = Line()"
    ),
    "an argument of a forbidden name": (
        "def twice(x, flip): return flip * x\n"
        "def double(x, shift=0.0):\n    h, w = map(int, x.shape)\n    return twice(x, 2) + shift"
    ),
    "a nested one of a forbidden name": (
        "def double(x, shift=0.0):\n    def flip(t): return 2 * t\n    return flip(x) + shift"
    ),
    "a loop elsewhere under the same name": (
        "def rows(x):\n    def inner(t):\n        for r in t: pass\n    return inner\n"
        "def double(x, shift=0.0):\n    def inner(t): return 2 * t\n    return inner(x) + shift"
    ),
    "vmap": "def double(x, shift=0.0): return torch.vmap(lambda row: 2 * row + shift)(x)",
    "a loop of a fixed length": (
        "def double(x, shift=0.0):\n    for _ in range(2): shift = shift + x\n    return shift"
    ),
    "a loop": "def double(x, shift=0.0): return torch.stack([2 * row + shift for row in x])",
    "a loop in a method": (
        "class Line:\n    def run(self, x, s): return torch.stack([2 * r + s for r in x])\n"
        "def double(x, shift=0.0): return Line().run(x, shift)"
    ),
    "another name": "def loops(x, shift=0.0): return torch.stack([2 * r + shift for r in x])\n"
    "globals()['double'] = loops",
    "a flip": "def double(x, shift=0.0): return 2 * x.flip(0).flip(0) + shift",
}


@pytest.mark.parametrize("style", STYLES)
def test_check_and_grading_say_the_same(style):
    namespace = run_cell(STYLES[style])
    learning = examine(DOUBLE, namespace)
    cases = DOUBLE.make_cases(seed_for(DOUBLE.id, b"key"))
    report = answer(DOUBLE.kind, DOUBLE.entry, DOUBLE.questions(cases), namespace)
    graded = judge(DOUBLE, cases, report, reveal=False)
    right = list(STYLES).index(style) < list(STYLES).index("a loop")
    assert learning.points == graded.points == (5 if right else 0), learning.problem
