"""The rules of the house: who may import whom, and which versions everybody means."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FLOORS = [
    {"shapes", "data", "device", "progress", "sandbox"},
    {"models", "layers", "cost", "tracing"},
    {"training", "transfer", "parallel", "experiments", "plotting", "seeing", "cuda", "simulator"},
    {"cli", "__main__", "doctor", "grading", "checks", "answers", "assignments"},
]
FLOOR = {module: level for level, modules in enumerate(FLOORS) for module in modules}


def imports(path: Path) -> set[str]:
    """The parts of cnnlab that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("cnnlab.")}
    return found - {"__version__"}


def parts() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for path in (ROOT / "cnnlab").rglob("*.py"):
        part = path.relative_to(ROOT / "cnnlab").parts[0].removesuffix(".py")
        if part != "__init__":
            graph.setdefault(part, set()).update(imports(path) - {part})
    return graph


def test_every_part_has_its_floor():
    assert set(parts()) <= set(FLOOR)


def test_imports_go_down_or_sideways():
    upward = [(a, b) for a, others in parts().items() for b in others if FLOOR[b] > FLOOR[a]]
    everyday = {"check", "summary", "output_size", "receptive_field", "get_device"}
    assert not [(a, b) for a, b in upward if b not in everyday]


def test_imports_make_no_circle():
    graph, done = parts(), set()

    def visit(part, way):
        assert part not in way, " -> ".join([*way, part])
        if part not in done:
            for other in graph.get(part, ()):
                visit(other, [*way, part])
            done.add(part)

    for part in graph:
        visit(part, [])


def test_importing_cnnlab_loads_nothing_heavy():
    code = "import sys, cnnlab; print({'torch', 'numpy', 'IPython'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_computing_needs_no_notebook():
    """A GPU machine may have torch and no Jupyter: the package still imports there."""
    code = (
        "import sys\n"
        "for name in ('IPython', 'ipywidgets', 'nbgrader', 'nbformat'): sys.modules[name] = None\n"
        "import cnnlab.checks, cnnlab.plotting, cnnlab.data, cnnlab.experiments, torch\n"
        "print(cnnlab.plotting.explore_convolution(torch.eye(4)).picture)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Step 1 of 16. The filter")


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def required() -> list[Requirement]:
    project = pyproject()["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


def constrained() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize("requirement", required(), ids=str)
def test_constraints_fix_a_version_in_each_range(requirement):
    exact = constrained()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(exact)


def test_no_process_compiles_a_grammar_to_read_a_notebook():
    """Later jsonschemas bring a parser of addresses: 1.2 s for each process that imports them."""
    assert not {"rfc3987-syntax", "lark"} & set(constrained())


def test_the_ranges_admit_what_lab_machines_hold():
    ranges = {r.name: r.specifier for r in required()}
    assert ranges["torch"].contains("2.11.0") and not ranges["torch"].contains("2.10.0")
    assert ranges["torchvision"].contains("0.26.0")
    assert pyproject()["project"]["requires-python"] == ">=3.11"


def test_conda_installs_what_make_installs():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in listed if isinstance(entry, dict)]
    groups = re.search(r"^lab:.*\n\t@\$\(SET_UP\) (\w+)$", (ROOT / "Makefile").read_text(), re.M)
    assert pip == ["--constraint constraints.txt", f"--editable .[{groups[1]}]"]
    (python,) = [e for e in listed if isinstance(e, str) and e.startswith("python=")]
    assert Requirement(python.replace("=", ">=", 1)).specifier.contains("3.11")


def test_no_text_names_a_package_index_or_a_home_folder():
    named = r"pypi\.|pythonhosted|registry\.npm|/root/|/home/(?!bare|student)[a-z]"  # ours
    tracked = subprocess.run(
        ["git", "grep", "-nIP", named],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.splitlines()  # fmt: skip
    assert not [line for line in tracked if not line.startswith("tests/course/test_house.py")]


def commands_of_the_readme() -> set[str]:
    text = (ROOT / "README.md").read_text()
    return set(re.findall(r"\bmake ([a-z-]+)", text))


def test_every_make_target_that_is_written_about_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    targets |= {f"bench-{path.stem}" for path in (ROOT / "benchmarks").glob("[a-z]*.py")}
    assert commands_of_the_readme() and commands_of_the_readme() <= targets


def test_the_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"\.PHONY: ((?:.*\\\n)*.*)", makefile).group(1).replace("\\", "").split())
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert {line.split()[0] for line in listed.splitlines()} == phony | {"bench-%"}


def test_the_package_knows_no_assignment_by_name():
    names = [path.parent.name for path in (ROOT / "solutions").glob("*/tasks.py")]
    prefixes = "|".join({name.split("_")[0] for name in names})
    assert prefixes
    for path in (ROOT / "cnnlab").rglob("*.py"):
        tree = ast.parse(path.read_text())
        docs = {id(node.body[0].value) for node in ast.walk(tree) if _documented(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                known = id(node) not in docs and re.search(rf"\b({prefixes})[-_]\w", node.value)
                assert not known, f"{path}, line {node.lineno}: {node.value!r}"
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert not re.search(rf"\b({prefixes})\b", ast.unparse(node)), path


def _documented(node: ast.AST) -> bool:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, kinds) and ast.get_docstring(node) is not None
