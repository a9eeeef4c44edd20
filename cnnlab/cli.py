"""The ``cnnlab`` command. Each sub-command calls one function of the package."""

import argparse
import io
import os
import sys

from cnnlab import __version__

__all__ = ["main"]

DONE = {"collect": "collected", "feedback": "feedback written"}


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
    command.add_argument(
        "model", nargs="?", help="a name of cnnlab or torchvision, or your module:attribute"
    )
    command.add_argument(
        "--input-size", default="3,224,224", metavar="C,H,W",
        help="without the batch, several parted by ';' (default: 3,224,224)",
    )  # fmt: skip
    command.add_argument("--batch-size", type=int, default=1, metavar="N", help="default: 1")
    command.add_argument("--depth", type=int, metavar="D", help="one row a module at this depth")
    command.add_argument(
        "--format", default="table", metavar="table|tree|csv|json|markdown|latex|html",
        help="how to print it (default: table)",
    )  # fmt: skip
    command.add_argument("--train", action="store_true", help="in training mode")
    command.add_argument("--dtype", metavar="T", help="of inputs and parameters: float16")
    command.add_argument("--memory", action="store_true", help="also bytes to run and to train it")
    command.add_argument("--compare", metavar="MODEL", help="what differs in a second model")
    command.add_argument("--columns", metavar="A,B", help="which columns: name,params,macs")
    command.add_argument("--sort", metavar="COLUMN", help="the largest of this column first")
    command.add_argument("--units", action="store_true", help="3.9 G instead of whole numbers")
    command.add_argument("--list", action="store_true", help="the names that are known")
    command.set_defaults(run=_summary)

    command = commands.add_parser(
        "check",
        help="run an assignment and show how far it has come",
        description="Run an assignment and show how far it has come. The exit status is 0 for all "
        "points, 1 for fewer, 2 where nothing can be checked.",
    )
    command.add_argument("assignment", help='"a1", or the path of a notebook')
    command.add_argument("--course", default=".", help="the folder of the course (default: here)")
    command.set_defaults(run=_check)

    command = commands.add_parser("new-assignment", help="begin an assignment in this course")
    command.add_argument("name", help='the name of its folder, such as "week1_sorting"')
    command.add_argument("--course", default=".", help="the folder of the course (default: here)")
    command.set_defaults(run=_new_assignment)

    command = commands.add_parser("grade", help="grade the submissions of an assignment")
    command.add_argument("assignment", help='its folder in solutions/, or the beginning: "a1"')
    command.add_argument(
        "--student", action="append", default=[], metavar="X", help="this student only (repeatable)"
    )
    command.add_argument("--course", default=".", help="the folder of the course (default: here)")
    command.add_argument(
        "--from", dest="source", metavar="PATH",
        help="collect first, from a folder or a zip file of Canvas or Moodle",
    )  # fmt: skip
    command.add_argument("--workers", type=int, metavar="N", help="processes (default: by cores)")
    command.add_argument(
        "--scheduler", metavar="tcp://HOST:PORT", help="grade on the workers of this Dask scheduler"
    )
    command.add_argument("--again", action="store_true", help="judge also what has not changed")
    command.add_argument("--timeout", type=int, metavar="S", help="seconds a cell and a task")
    command.add_argument("--notebook-seconds", type=int, metavar="S", help="seconds a notebook")
    command.add_argument("--figures", action="store_true", help="draw also what nobody marks")
    command.add_argument("--gpu", action="store_true", help="let submissions use NVIDIA's devices")
    command.add_argument(
        "--no-sandbox", action="store_true", help="run submissions unconfined, at your own risk"
    )
    command.set_defaults(run=_grade)

    command = commands.add_parser(
        "collect", help="take in each student's last submission, from the exchange or an archive"
    )
    command.add_argument("assignment", nargs="*", help='"a1", several, or (default) all')
    command.add_argument("--course", default=".", help="the folder of the course (default: here)")
    command.add_argument(
        "--from", dest="source", metavar="PATH",
        help="a folder or a zip file of Canvas or Moodle (default: nbgrader's exchange)",
    )  # fmt: skip
    command.set_defaults(run=_collect)

    command = commands.add_parser(
        "feedback", help="write and release the feedback that has changed, hand marks included"
    )
    command.add_argument("assignment", nargs="*", help='"a1", several, or (default) all')
    command.add_argument("--course", default=".", help="the folder of the course (default: here)")
    command.set_defaults(run=_feedback)

    command = commands.add_parser(
        "export", help="fill points into the gradebook file of Canvas, Moodle and others"
    )
    command.add_argument("assignment", help='"a1", or its whole name')
    command.add_argument("template", help="the file with a line a student that the platform gave")
    command.add_argument("target", help="the file to write")
    command.add_argument("--course", default=".", help="the folder of the course (default: here)")
    command.add_argument("--column", default="", help="its title, where it isn't the assignment's")
    command.add_argument("--by", default="", metavar="COLUMN", help="the one that names students")
    command.add_argument("--unread", action="store_true", help="also with written answers unread")
    command.add_argument(
        "--without", action="append", default=[], metavar="X", help="who has left (repeatable)"
    )
    command.set_defaults(run=_export)

    args = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ✓ gets a ?
    try:
        status = args.run(args)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read, as in `cnnlab doctor | head -1`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _doctor(args: argparse.Namespace) -> int:
    from cnnlab.doctor import examine_machine

    return examine_machine()


def _summary(args: argparse.Namespace) -> int:
    from cnnlab.cost.command import list_text, summary_text

    names = ("format", "depth", "batch_size", "train", "dtype", "memory", "compare", "columns",
             "sort", "units")  # fmt: skip
    try:
        if args.list:
            print(list_text())
        elif args.model is None:
            raise ValueError("which model? `cnnlab summary --list` has the names")
        else:
            options = {name: getattr(args, name) for name in names}
            print(summary_text(args.model, args.input_size, **options))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _check(args: argparse.Namespace) -> int:
    try:
        from cnnlab.assignments.notebook import NotebookProblem, check_notebook, find_notebook
    except ModuleNotFoundError as error:
        return _missing("check", error)
    try:
        earned, total = check_notebook(find_notebook(args.assignment, args.course))
    except NotebookProblem as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if earned == total else 1


def _new_assignment(args: argparse.Namespace) -> int:
    try:
        from cnnlab.assignments.skeleton import CannotBegin, new_assignment
    except ModuleNotFoundError as error:
        return _missing("new-assignment", error)
    try:
        folder = new_assignment(args.name, args.course)
    except (CannotBegin, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{folder}: change tasks.py and the notebook, then run `make assignments`.")
    return 0


def _missing(command: str, error: ModuleNotFoundError) -> int:
    print(f"cnnlab {command} needs {error.name}: run `make setup` first.", file=sys.stderr)
    return 1


def _grade(args: argparse.Namespace) -> int:
    if args.no_sandbox:
        os.environ["CNNLAB_NO_SANDBOX"] = "1"
        print(
            "WARNING: submissions run WITHOUT a sandbox. They can read and change whatever you "
            "can: the gradebook, the key, other submissions.",
            file=sys.stderr,
        )
    try:
        from cnnlab.grading import zygote

        if args.scheduler is None:
            zygote.start()  # it imports torch while this process imports nbgrader
        from cnnlab.grading import GradingError, grade
        from cnnlab.grading.intake import printable
    except ModuleNotFoundError as error:
        return _missing("grade", error)
    names = ("timeout", "notebook_seconds", "gpu", "figures")
    limits = {name: value for name in names if (value := getattr(args, name)) not in (None, False)}
    try:
        grades = grade(
            args.assignment,
            args.student,
            args.course,
            source=args.source,
            workers=args.workers,
            scheduler=args.scheduler,
            again=args.again,
            limits=limits,
        )
    except ModuleNotFoundError as error:
        return _missing("grade", error)
    except GradingError as error:
        print(error, file=sys.stderr)
        return 1
    names = [printable(g.student) for g in grades]
    width = min(max(map(len, names), default=0), 40)
    for name, g in zip(names, grades, strict=True):
        if g.problem:
            print(f"{name:<{width}}  not graded: {printable(g.problem)}")
            continue
        notes = ["written answers to read"] if g.needs_reading else []
        notes += [f"signs of trouble: {g.evidence}"] if g.evidence else []
        notes += ["unchanged"] if g.kept else []
        more = f"  + {', '.join(notes)}" if notes else ""
        print(f"{name:<{width}}  {g.score:6.1f} of {g.max_score:g}{more}")
    return 1 if any(g.problem for g in grades) else 0


def _collect(args: argparse.Namespace) -> int:
    return _handled("collect", args.assignment, args.course, args.source)


def _feedback(args: argparse.Namespace) -> int:
    return _handled("feedback", args.assignment, args.course)


def _export(args: argparse.Namespace) -> int:
    try:
        from cnnlab.grading.export import fill_in
        from cnnlab.grading.folder import GradingError
    except ModuleNotFoundError as error:
        return _missing("export", error)
    names = ("assignment", "template", "target", "course", "column", "by", "unread", "without")
    try:
        filled, empty = fill_in(**{name: getattr(args, name) for name in names})
    except GradingError as error:
        print(error, file=sys.stderr)
        return 1
    rows = f"; none in row {', '.join(map(str, empty[:20]))}" if empty else ""
    print(f"{args.target}: points of {filled}{rows}{' ...' * (len(empty) > 20)}")
    return 0


def _handled(command: str, *args) -> int:
    try:
        from cnnlab.grading import GradingError, exchange
        from cnnlab.grading.intake import printable
    except ModuleNotFoundError as error:
        return _missing(command, error)
    try:
        done = getattr(exchange, command)(*args)
    except ModuleNotFoundError as error:
        return _missing(command, error)
    except GradingError as error:
        print(error, file=sys.stderr)
        return 1
    for one in done:
        said = one.note or (one.problem and f"left out: {one.problem}") or DONE[command]
        print(printable(": ".join(filter(None, (one.assignment, one.student, said)))))
    if not done:
        print("Nothing new.")
    return 1 if any(one.problem for one in done) else 0
