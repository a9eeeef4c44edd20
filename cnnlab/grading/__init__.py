"""Grading a class: verdicts are made here, outside the students' processes."""

from cnnlab.grading.grade import Grade, GradingError, grade

__all__ = ["Grade", "GradingError", "grade"]
