"""Graded training: whoever does as the solution does reaches the top band, whatever the seed."""

from pathlib import Path

import nbformat
import pytest
import torch

from cnnlab.assignments import load_tasks
from cnnlab.checks import Task, seed_for

SOLUTIONS = {
    task.id: path
    for path in sorted((Path(__file__).parents[2] / "solutions").glob("*/*.ipynb"))
    for task in load_tasks(path.parent).values()
    if task.in_bands and not task.limits  # what took minutes to train is stored
}
TRAINED = [load_tasks(path.parent)[name] for name, path in SOLUTIONS.items()]


def trained(task: Task, seed: int) -> dict:
    """The names of the solution notebook after its training, begun with another seed."""
    namespace = {"__name__": "notebook"}
    for cell in nbformat.read(SOLUTIONS[task.id], 4).cells:
        if cell.cell_type == "code" and not cell.source.startswith("check("):
            code = cell.source.replace("torch.manual_seed(0)", f"torch.manual_seed({seed})")
            exec(
                compile(code, cell.metadata.get("nbgrader", {}).get("grade_id", ""), "exec"),
                namespace,
            )
        if cell.metadata.get("nbgrader", {}).get("grade_id") == f"{task.id}-answer":
            return namespace
    raise AssertionError(f"no cell answers {task.id}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("task", TRAINED, ids=lambda task: task.id)
def test_the_solution_trains_well_past_the_top_band(task, seed):
    torch.set_num_threads(1)
    answer = trained(task, seed)[task.entry]
    for key in (None, b"one", b"two"):
        (case, *_) = task.make_cases(seed_for(task.id, key))
        (truth,) = task.expected([case])
        with torch.no_grad():
            given = answer(case.args[0])
        given = given.argmax(1) if task.kind == "weights" else given
        share = (given == truth).double().mean().item()
        assert share >= max(task.bands.values()) + 0.01
