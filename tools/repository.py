"""The book's address on GitHub, and the set-up cell of the notebooks, which holds it on the branch ``launch`` alone.

Nothing on ``main`` names an address: a fork is complete without a change. The site asks for it when it is built
(book/_ext/dgm_launch.py), and tools/launch_branch.py writes it into the notebooks that Binder and Colab open.
"""

import json
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BRANCH = "launch"
REMOTE = re.compile(
    r"(?:https://(?:[^/@]+@)?github\.com/"
    r"|ssh://git@(?:ssh\.)?github\.com(?::\d+)?/"
    r"|git@github\.com:)(?P<path>[\w-]+/[\w.-]+?)(?:\.git)?/?"
)
SETUP = """import os
from importlib import import_module as load, util

URL = "{url}"
if util.find_spec("dgm_helpers") is None:  # fetch the book, weights, and their needs
    if os.system(f"git clone --depth=1 -b launch {{URL}} book && ln -s book/dgm_helpers"):
        raise SystemExit(f"Run git clone {{URL}} book; pip install -e 'book[notebooks]'")
    load("runpy").run_path("dgm_helpers/notebook/colab.py")["install_missing"]()"""


def origin(root):
    """What git fetches the remote ``origin`` from, "" if there is none, or no git. A repository around counts not."""
    command = ["git", "-c", "safe.directory=*", "-C", str(root), "remote", "get-url", "origin"]
    limit = {"GIT_CEILING_DIRECTORIES": str(Path(root).resolve().parent)}
    try:
        return subprocess.run(command, env=os.environ | limit, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def address(root=ROOT, environ=os.environ):
    """``https://github.com/ORG/REPO`` of the workflow that runs, otherwise of the remote ``origin``; "" if neither is
    on github.com."""
    if name := environ.get("GITHUB_REPOSITORY"):
        url = f"{environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}"
    else:
        url = origin(root).strip()
    found = REMOTE.fullmatch(url)
    return f"https://github.com/{found['path']}" if found else ""


def pages(url):
    """Where GitHub Pages shows the repository with this address."""
    organisation, name = url.split("/")[-2:]
    site = f"{organisation.lower()}.github.io"
    return f"https://{site}/" if name.lower() == site else f"https://{site}/{name}/"


def is_set_up(source):
    """Whether this is the set-up cell, with whatever address."""
    before, after = SETUP.format(url="\0").split("\0")
    return re.fullmatch(re.escape(before) + '[^"\n]*' + re.escape(after), source) is not None


def set_up_cell(text, url):
    """A notebook's text with the address written into its first code cell, which is the set-up and nothing else."""
    notebook = json.loads(text)
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    if not is_set_up("".join(cell["source"])):
        raise ValueError("expected the first code cell to be the set-up cell of the other notebooks, and no more")
    cell["source"] = SETUP.format(url=url).splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
