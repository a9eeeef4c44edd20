"""An answer of a student, made up by somebody who has seen the question only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    task: str
    right: bool
    name: str
    why: str
    code: str
    ambiguous: bool = False


class Bank(list):
    """A list of answers with two short ways to add one."""

    def right(self, task, name, why, code, ambiguous=False):
        self.append(Answer(task, True, name, why, code.strip("\n") + "\n", ambiguous))

    def wrong(self, task, name, why, code, ambiguous=False):
        self.append(Answer(task, False, name, why, code.strip("\n") + "\n", ambiguous))
