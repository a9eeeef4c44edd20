"""Hints for wrong answers that no misconception explains."""

import pytest
import torch

from cnnlab.checks import Case, Task, examine

IMAGE = torch.tensor([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]])


SQUARE, LAYERED = IMAGE[:, :2].contiguous(), IMAGE[None]


def cases(rng):
    for image, stride, padding in [
        (IMAGE, 1, 0),
        (IMAGE.T.contiguous(), 2, 1),
        (SQUARE, 2, 2),
        (LAYERED, 3, 1),
        (IMAGE, 3, 2),
        (SQUARE, 1, 0),
        (LAYERED, 1, 0),
        (IMAGE, 4, 0),
    ]:
        yield Case("all", (image, stride), {"padding": padding})


def right(image, stride, padding=0):
    return image * stride + padding


TASK = Task(
    id="t-hint", kind="function", entry="f", points={"all": 1}, reference=right, cases=cases
)


@pytest.mark.parametrize(
    "answer, words",
    [
        (lambda i, s, padding: i + padding, "right where `stride` is 1, and wrong"),
        (lambda i, s, padding: i * s + min(padding, 1), "wrong where `padding` is 2, and"),
        (
            lambda i, s, padding: right(i, s, padding) * (1 + (i.shape[-1] == i.shape[-2])),
            "right where the shape of `image` is oblong, and wrong",
        ),
        (
            lambda i, s, padding: right(i, s, padding).squeeze(0),
            "wrong where axis 0 of `image` is 1",
        ),
        (lambda i, s, padding: 1 / 0 if s == 1 else i * s + padding, "wrong where `stride` is 1,"),
        # one alone is right, and that its height is odd may be chance
        (lambda i, s, padding: i * s + padding + (i.shape[-2] % 2 == 0), "the right ones plus 1"),
    ],
)
def test_what_the_wrong_cases_have_in_common_is_told(answer, words):
    found = examine(TASK, {"f": answer})
    assert found.points == 0 and words in found.hint


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda y: y + 3, "the right ones plus 3"),
        (lambda y: -2 * y, "the right ones times -2"),
        (lambda y: 0 * y, "all zero"),
        (lambda y: y.mT.contiguous().reshape(y.shape), "the right numbers in another order"),
        (lambda y: y.flip(-1, -2), "turned by half a turn"),
        (lambda y: y.relu(), "with a ReLU"),
        (lambda y: y.abs(), "without their signs"),
        (lambda y: y[None], "An axis of length 1"),
        (lambda y: y.mT, "the right ones transposed"),
        (lambda y: y.sum(), "another number of axes"),
        (lambda y: y[..., 1:], "The result is too small"),
        (lambda y: torch.cat([y, y], -1), "The result is too large"),
        (lambda y: y.cos(), ""),
        (lambda y: "cat", ""),
        (lambda y: None, "stands after `return`"),
    ],
)
def test_how_all_results_relate_to_the_right_ones_is_told(change, words):
    found = examine(TASK, {"f": lambda *a, **k: change(right(*a, **k))})
    assert found.points == 0 and words in found.hint and bool(found.hint) is bool(words)


def test_a_changed_input_comes_with_its_remedy():
    found = examine(TASK, {"f": lambda image, s, padding: image.mul_(s).add_(padding)})
    assert "changed its input" in found.problem and "x.clone()" in found.hint


def test_the_right_number_of_a_table_is_not_told_by_a_relation():
    task = Task(
        id="t-table",
        kind="value",
        entry="counts",
        points={"a": 1, "b": 1},
        reference=lambda: {"a": 10, "b": 20},
    )
    assert not examine(task, {"counts": {"a": 20, "b": 40}}).hint
