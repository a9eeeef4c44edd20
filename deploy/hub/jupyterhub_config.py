# A JupyterHub with the course; `make hub` lays out its folder and starts it with this file.
# What a real lab changes stands here as comments, one sentence each; docs/hub.md says which of it
# was run.
import json
import os
import sys
from pathlib import Path

c = get_config()  # noqa: F821 (traitlets provides it)

HUB = Path(os.environ["CNNLAB_HUB"])  # see start.py for what lies in it
PORT = int(os.environ["PORT"])
AS_ROOT = os.geteuid() == 0
COURSE = HUB / "home/instructor/course"  # solutions, gradebook and key: the instructor's alone
PATH = os.environ["PATH"]
WITH_HUB = ["setpriv", "--pdeathsig", "TERM"]  # ends also where the hub was killed

# --- who may enter ---
# A password for the students and another for the instructor: for trying only.
words = json.loads((HUB / "state/passwords.json").read_text())
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = words["students"]
c.SharedPasswordAuthenticator.admin_password = words["instructor"]
c.Authenticator.admin_users = {"instructor"}
c.Authenticator.allowed_users = {"instructor", "ada", "ben"}
# The machine's own accounts and passwords:
# c.JupyterHub.authenticator_class = "pam"
# A university's or GitHub's login (package oauthenticator; also LTI, LDAP, CAS):
# c.JupyterHub.authenticator_class = "generic-oauth"

# --- where servers run ---
c.Spawner.cmd = ["jupyterhub-singleuser"]
c.Spawner.default_url = "/lab"
c.Spawner.environment = {
    "PATH": PATH,  # the hub passes on nothing that is not named
    "OMP_NUM_THREADS": "2",
    "JUPYTER_DEFAULT_PROVISIONER_NAME": "cnnlab-warm",  # kernels start with torch imported
    "JUPYTER_PREFER_ENV_PATH": "0",  # the instructor's settings count, whosever this environment is
}
if AS_ROOT:  # each server as its user's own system account
    c.JupyterHub.spawner_class = "jupyterhub.spawner.LocalProcessSpawner"
else:  # all as this account: nobody is isolated from anybody
    c.JupyterHub.spawner_class = "simple"
    c.SimpleLocalProcessSpawner.home_dir_template = f"{HUB}/home/{{username}}"
# The instructor's server opens the course; settings in that home show formgrader.
c.JupyterHub.load_groups = {"instructors": {"users": ["instructor"]}}
c.Spawner.group_overrides = {
    "instructors": {
        "groups": ["instructors"],
        "spawner_override": {"notebook_dir": str(COURSE)},
    }
}
# Containers on this machine (package dockerspawner): mount course/ read-only and exchange/.
# c.JupyterHub.spawner_class = "docker"
# Kubernetes (package jupyterhub-kubespawner; the Zero to JupyterHub chart brings it): the exchange
# is a volume that many pods may write.
# c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
# A cluster's batch system (package batchspawner): homes, course/ and exchange/ on a shared disk.
# c.JupyterHub.spawner_class = "batchspawner.SlurmSpawner"
# A GPU a user, on Slurm; with Docker it is a `device_requests` in DockerSpawner.extra_host_config:
# c.SlurmSpawner.req_gres = "gpu:1"
# What a server may use, where the spawner can hold it to that (Docker, Kubernetes, Slurm):
# c.Spawner.mem_limit, c.Spawner.cpu_limit = "4G", 2

# --- addresses ---
c.JupyterHub.bind_url = f"http://127.0.0.1:{PORT}"
c.ConfigurableHTTPProxy.command = [*WITH_HUB, "configurable-http-proxy"]  # in Python
c.ConfigurableHTTPProxy.log_level = "error"  # its every route is no news
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{PORT + 1}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{PORT + 2}"
# TLS, without which no hub belongs on a network:
# c.JupyterHub.bind_url = "https://:443"
# c.JupyterHub.ssl_cert, c.JupyterHub.ssl_key = "/etc/ssl/hub.pem", "/etc/ssl/hub.key"
# The hub's own database (accounts and servers; the gradebook's is in nbgrader_config.py):
# c.JupyterHub.db_url = "postgresql://hub@db.example.org/hub"
# Servers outlive a restart of the hub: who is submitting goes on.
c.JupyterHub.cleanup_servers = False

c.Application.log_level = "WARN"

# --- beside the servers ---
c.JupyterHub.services = [
    {
        "name": "idle-culler",  # stops servers that nobody has used for an hour
        "command": [*WITH_HUB, sys.executable, "-m", "jupyterhub_idle_culler", "--timeout=3600"],
    },
    {
        "name": "grading",  # collects, grades and gives feedback every five minutes
        "url": f"http://127.0.0.1:{PORT + 3}",
        "command": [*WITH_HUB, sys.executable, "-m", "cnnlab.grading.service", "--minutes=5"],
        "cwd": str(COURSE),
        "environment": {"PATH": PATH},
        "oauth_no_confirm": True,
        **({"user": "instructor"} if AS_ROOT else {}),
    },
]
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "services": ["idle-culler"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    },
    {
        "name": "instructors",
        "groups": ["instructors"],
        "scopes": ["access:services!service=grading"],
    },
]
