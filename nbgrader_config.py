# The course as nbgrader sees it: `nbgrader ...` and JupyterLab's formgrader read this file
# when they are started in this folder.
import os
import sys

c = get_config()  # noqa: F821 (traitlets provides it)

# nbgrader makes a new gradebook with a program that lies beside this Python.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])

c.CourseDirectory.course_id = "cnnlab"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "assignments"
# What stays with the instructor: never copied into a release, a submission or feedback.
c.CourseDirectory.ignore = [
    ".ipynb_checkpoints", "*.pyc", "__pycache__", "feedback", "tasks.py", "right_answers.py",
]  # fmt: skip

# Beside each release, what `check` needs of its tasks: questions and answers, no code.
c.GenerateAssignment.preprocessors.prepend(["cnnlab.assignments.release.Prepare"])
c.ClearSolutions.code_stub = {
    "python": "# YOUR CODE HERE\n"
    'raise NotImplementedError("Write this part, then delete this line.")'
}
c.ClearSolutions.text_stub = "*Your answer here.*"

# Grading, whoever starts it: cells as they were released, the student's code in a sandbox,
# the tasks judged outside of it.
c.Autograde.pre_convert_hook = "cnnlab.grading.intake.before_autograding"
c.Autograde.exporter_class = "cnnlab.grading.intake.Reader"
c.Autograde.sanitize_preprocessors = [
    "cnnlab.grading.intake.RepairCells",
    "nbgrader.preprocessors.ClearOutput",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Autograde.autograde_preprocessors = [
    "cnnlab.grading.outside.JudgeOutside",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.RepairCells.release = "assignments"
c.JudgeOutside.timeout = 30  # seconds a cell, and the answers to a task
c.JudgeOutside.notebook_seconds = 300

# A tag of the student's must not skip a test cell.
c.NotebookClient.skip_cells_with_tag = "__never__"
# What a student wrote must not run as a script in the browser of whoever opens it.
c.HTMLExporter.sanitize_html = True
c.HTMLExporter.preprocessors = ["cnnlab.grading.pages.MakeInert"]
c.GenerateFeedback.exporter_class = "cnnlab.grading.pages.StudentsPage"
c.HTMLExporter.filters = {
    "markdown2html": "cnnlab.grading.pages.markdown2html",
    "ansi2html": "cnnlab.grading.pages.ansi2html",
    "clean_html": "cnnlab.grading.pages.clean",
}
c.ExportApp.plugin_class = "cnnlab.grading.export.CsvExport"
# A test that is hidden from students stays hidden in their feedback.
c.GenerateFeedback.preprocessors = [
    "nbgrader.preprocessors.GetGrades",
    "nbgrader.preprocessors.ClearHiddenTests",
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
]
