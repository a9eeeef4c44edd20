"""The ``cnnlab`` command. Each sub-command calls one function of the package."""

import argparse
import sys

from cnnlab import __version__

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run ``cnnlab ARGS``; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="cnnlab", description="The tools of CNN Lab, an open course on convolutional networks."
    )
    parser.add_argument("--version", action="version", version=f"cnnlab {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("doctor", help="check this machine, one line a check")
    command.set_defaults(run=_doctor)

    command = commands.add_parser("summary", help="what a network costs, operation by operation")
    command.add_argument("model", help="a name of cnnlab or torchvision, or your module:attribute")
    command.add_argument("--input-size", default="3,224,224", metavar="C,H,W")
    command.add_argument("--batch-size", type=int, default=1, metavar="N")
    command.add_argument("--depth", type=int, metavar="D", help="one row a module at this depth")
    command.add_argument("--format", default="table", metavar="table|csv|json|markdown|latex|html")
    command.set_defaults(run=_summary)

    command = commands.add_parser("check", help="run an assignment and show how far it has come")
    command.add_argument("assignment", help='"a1", or the path of a notebook')
    command.add_argument("--course", default=".", help="the folder of the course (default: here)")
    command.set_defaults(run=_check)

    command = commands.add_parser("grade", help="grade the submissions of an assignment")
    command.add_argument("assignment", help='its folder in solutions/, or the beginning: "a1"')
    command.add_argument(
        "--student", action="append", default=[], metavar="X", help="this student only (repeatable)"
    )
    command.add_argument("--course", default=".", help="the folder of the course (default: here)")
    command.set_defaults(run=_grade)

    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def _doctor(args: argparse.Namespace) -> int:
    from cnnlab.doctor import examine_machine

    return examine_machine()


def _summary(args: argparse.Namespace) -> int:
    from cnnlab.cost.command import summary_text

    try:
        print(
            summary_text(
                args.model,
                args.input_size,
                args.format,
                depth=args.depth,
                batch_size=args.batch_size,
            )
        )
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _check(args: argparse.Namespace) -> int:
    try:
        from cnnlab.checks.notebook import NotebookProblem, check_notebook, find_notebook
    except ModuleNotFoundError as error:
        return _missing("check", error)
    try:
        check_notebook(find_notebook(args.assignment, args.course))
    except NotebookProblem as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _missing(command: str, error: ModuleNotFoundError) -> int:
    print(f"cnnlab {command} needs {error.name}: run `make setup` first.", file=sys.stderr)
    return 1


def _grade(args: argparse.Namespace) -> int:
    try:
        from cnnlab.grading import GradingError, grade
    except ModuleNotFoundError as error:
        return _missing("grade", error)
    try:
        grades = grade(args.assignment, args.student, args.course)
    except GradingError as error:
        print(error, file=sys.stderr)
        return 1
    width = max(len(g.student) for g in grades)
    for g in grades:
        if g.problem:
            print(f"{g.student:<{width}}  not graded: {g.problem}")
        else:
            reading = "  + written answers to read" if g.needs_reading else ""
            print(f"{g.student:<{width}}  {g.score:6.1f} of {g.max_score:g}{reading}")
    return 1 if any(g.problem for g in grades) else 0
