"""The contract of a task: what earns points, and what a student reads otherwise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cnnlab.assignments import get_task
from cnnlab.checks import Case, Misconception, Task, examine, seed_for
from cnnlab.checks.source_rules import definitions, violation


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
    forbidden=("loop", "mul"),
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
        lambda x, shift=0.0: torch.stack([2 * row + shift for row in x]).T.contiguous().T,
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
        (None, "`double` is not defined in the notebook"),
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
        (lambda x, shift=0.0: AlwaysEqual(), "expected a tensor, got object of type AlwaysEqual"),
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

    assert verdict(double).text().splitlines()[1] == "  `double` is not written yet."


@pytest.mark.parametrize(
    "cell, word",
    [
        ("def double(x, shift=0.0):\n    for row in x: pass\n    return 2 * x + shift", "loop"),
        ("def double(x, shift=0.0): return x.mul(2) + shift", "`mul`"),
        ("from torch import mul\ndef double(x, shift=0.0): return mul(x, 2) + shift", "`mul`"),
        (
            "def twice(x): return torch.stack([2 * r for r in x])\n"
            "def double(x, shift=0.0): return twice(x) + shift",
            "`twice` has a Python loop",
        ),
        ("double = lambda x, shift=0.0: torch.mul(x, 2) + shift", "`mul`"),
    ],
)
def test_what_a_task_forbids_is_found_also_in_helpers(cell, word):
    found = examine(DOUBLE, run_cell(cell))
    assert found.points == 0 and word in found.problem


def test_what_a_task_forbids_is_found_under_another_name():
    task = replace(DOUBLE, forbidden=("summary",))
    cell = "from cnnlab import summary as s\ndef double(x, shift=0.0): return s(x) or 2 * x + shift"
    namespace = run_cell(cell)
    assert "`summary`" in examine(task, namespace).problem
    for code in (cell, "from cnnlab import summary\ndouble = summary"):
        assert "`summary`" in violation("double", task.forbidden, definitions(code).get)


def test_a_variable_of_ones_own_may_bear_a_forbidden_name():
    cell = "def double(x, shift=0.0):\n    mul = 2 * x\n    return mul + shift"
    assert examine(DOUBLE, run_cell(cell)).points == 5


def test_a_helper_of_ones_own_may_bear_a_forbidden_name():
    cell = "def mul(x): return x + x\ndef double(x, shift=0.0): return mul(x) + shift"
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
        ({"side": 5, "MACs": 8}, "`table['conv1']`: 'MACs' is not right."),
        ({"side": 5, "MACs": None}, "'MACs' is not filled in yet."),
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
        "times = getattr(torch, 'm' + 'ul')\ndef double(x, shift=0.0): return times(x, 2) + shift",
        "mine = torch.mul\ndef double(x, shift=0.0): return mine(x, 2) + shift",
        "def double(x, shift=0.0): return vars(torch)['m' + 'ul'](x, 2) + shift",
    ],
)
def test_a_forbidden_function_is_seen_under_any_name(disguise):
    found = examine(DOUBLE, run_cell(disguise))
    assert found.points == 0 and "`mul`" in found.problem


def test_code_that_is_hidden_in_a_string_is_refused_where_code_matters():
    hidden = (
        "def double(x, shift=0.0):\n    exec('for i in range(1): y = 2 * x + shift')\n    return y"
    )
    found = examine(DOUBLE, run_cell(hidden))
    assert found.points == 0
