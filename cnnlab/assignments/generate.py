"""``python -m cnnlab.assignments.generate``: every assignment of this course, in one process."""

import sys

from nbgrader.apps import NbGrader
from nbgrader.apps.api import NbGraderAPI


def main() -> bool:
    """Generate them with nbgrader and say of each what became of it; whether one has failed."""
    course = NbGrader()
    course.load_config_file()
    api = NbGraderAPI(config=course.config)
    failed = False
    for name in sorted(api.get_source_assignments()):
        made = api.generate_assignment(name)
        failed = failed or not made["success"]
        print(name if made["success"] else f"{name}: not generated\n{made['log']}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
