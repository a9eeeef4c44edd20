# JupyterLab reads this file when it is started in this folder (`make lab`).
c = get_config()  # noqa: F821 (traitlets provides it)

# Validate does not block the server, and formgrader runs no other folder's configuration.
c.ServerApp.jpserver_extensions = {"cnnlab.grading.server": True}
