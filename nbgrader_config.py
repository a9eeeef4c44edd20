# The course as nbgrader sees it: `nbgrader ...` and JupyterLab's formgrader read this file
# when they are started in this folder.
c = get_config()  # noqa: F821 (traitlets provides it)

c.CourseDirectory.course_id = "cnnlab"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "assignments"

c.ClearSolutions.code_stub = {
    "python": "# YOUR CODE HERE\n"
    'raise NotImplementedError("Write this part, then delete this line.")'
}
c.ClearSolutions.text_stub = "*Your answer here.*"

# A tag of the student's must not skip a test cell.
c.NotebookClient.skip_cells_with_tag = "__never__"
# What a student's notebook prints must not run as a script in the instructor's browser.
c.HTMLExporter.sanitize_html = True
