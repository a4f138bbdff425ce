"""``make check`` runs what a change can affect, and nothing else; what failed, or was interrupted, runs again."""

import json
import os
import shutil
import subprocess
import sys

import check
import digests
import pytest
import repository
from repo import ROOT

NOTEBOOK = "notebooks/flows/run.ipynb"
OF_FLOWS, OF_MADE, OF_PAGES = "tests/flows/test_flow.py", "tests/made/test_made.py", "tests/book/test_pages.py"
EVERY = {NOTEBOOK, OF_FLOWS, OF_MADE, OF_PAGES}
FILES = {
    "dgm_helpers/__init__.py": "",
    "dgm_helpers/flow.py": "from dgm_helpers.density import log_normal\n",
    "dgm_helpers/density.py": "def log_normal(x):\n    return -x * x / 2\n",
    "dgm_helpers/made.py": "ORDER = 1\n",
    OF_FLOWS: "from dgm_helpers.flow import log_normal\ndef test_at_zero():\n    assert log_normal(0) == 0\n",
    OF_MADE: "from dgm_helpers.made import ORDER\ndef test_order():\n    assert ORDER == 1\n",
    OF_PAGES: "def test_nothing():\n    pass\n",
    "tests/conftest.py": "",
    "book/page.md": "# A page\n",
    "requirements.txt": "torch==1\n",
    "weights/flow.safetensors": "numbers",
    "weights/other.safetensors": "numbers",
    "notebooks/digests.json": json.dumps({NOTEBOOK: {"weights": {"flow.safetensors": "0"}}}),
}
CELLS = [
    {"cell_type": "markdown", "source": ["text"]},
    {"cell_type": "code", "source": [repository.SETUP.format(url="")], "outputs": []},
    {"cell_type": "code", "source": ["from dgm_helpers.flow import log_normal"], "outputs": []},
    {"cell_type": "code", "source": ["# NBVAL_CHECK_OUTPUT\n", "log_normal(0)"], "outputs": [{"text": "0"}]},
]


def write(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf8")


@pytest.fixture
def root(tmp_path):
    for path, text in FILES.items():
        write(tmp_path, path, text)
    write(tmp_path, NOTEBOOK, json.dumps({"cells": CELLS}))
    git = ["git", "-C", tmp_path, "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=All"]):
        subprocess.run([*git, *command], check=True)
    return tmp_path


def cells(**changes):
    changed = json.loads(json.dumps(CELLS))
    for name, value in changes.items():
        kind, i = name.split("_")
        changed[int(i)][kind] = value
    return json.dumps({"cells": changed})


@pytest.mark.parametrize(
    ("path", "text", "due"),
    [
        ("dgm_helpers/density.py", FILES["dgm_helpers/density.py"].replace("/ 2", "/ 3"), {NOTEBOOK, OF_FLOWS}),
        ("dgm_helpers/density.py", "# a comment\n" + FILES["dgm_helpers/density.py"], set()),
        ("dgm_helpers/made.py", "ORDER = 2\n", {OF_MADE}),
        ("weights/flow.safetensors", "other numbers", {NOTEBOOK, OF_FLOWS, OF_MADE}),
        ("weights/other.safetensors", "other numbers", {OF_FLOWS, OF_MADE}),
        ("requirements.txt", "torch==2\n", EVERY),
        ("tests/conftest.py", "import math\n", {OF_FLOWS, OF_MADE}),
        (OF_MADE, FILES[OF_MADE] + "# more\n", {OF_MADE}),
        ("book/page.md", "# Another\n", set()),
        ("book/new.md", "# A new page that git does not know yet\n", set()),
        (NOTEBOOK, cells(source_0=["other text"]), set()),
        (NOTEBOOK, cells(source_2=["from dgm_helpers.flow import log_normal as f"]), {NOTEBOOK}),
        (NOTEBOOK, cells(outputs_3=[{"text": "1"}]), {NOTEBOOK}),
        (NOTEBOOK, cells(outputs_2=[{"text": "a figure"}]), set()),
    ],
)
def test_what_a_change_can_affect(root, path, text, due):
    before = check.keys(root)
    assert before.keys() == EVERY
    assert check.keys(root) == before
    write(root, path, text)
    after = check.keys(root)
    assert {name for name in EVERY if after[name] != before[name]} == due | {OF_PAGES}


def test_a_file_that_is_gone_counts(root):
    before = check.keys(root)
    (root / "weights" / "flow.safetensors").unlink()
    assert check.keys(root)[NOTEBOOK] != before[NOTEBOOK]


def test_what_has_passed_is_skipped_and_what_failed_runs_again(root, tmp_path_factory, monkeypatch, capfd):
    (root / NOTEBOOK).unlink()
    (root / OF_PAGES).unlink()
    write(root, OF_MADE, FILES[OF_MADE].replace("== 1", "== 2"))
    monkeypatch.setenv("DGM_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    tools = root / "tools"
    tools.mkdir()
    for name in ("check", "digests", "repository"):
        shutil.copy(ROOT / "tools" / f"{name}.py", tools)

    def run(*options):
        command = [sys.executable, tools / "check.py", *options, "-p", "no:cacheprovider", f"--rootdir={root}"]
        done = subprocess.run(command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, check=False)
        said = capfd.readouterr().out
        return done.returncode, int(said.split()[1]), "1 failed" in said, "2 passed" in said or "1 passed" in said

    assert run() == (1, 0, True, True)
    assert run() == (1, 1, True, False)  # only what failed
    write(root, OF_MADE, FILES[OF_MADE])
    assert run() == (0, 1, False, True)
    assert run() == (0, 2, False, False)
    write(root, "dgm_helpers/density.py", FILES["dgm_helpers/density.py"] + "TWO = 2\n")
    assert run("--collect-only") == (0, 1, False, False)  # nothing was seen to pass
    assert run() == (0, 1, False, True)


def test_the_books_own_files_are_known():
    names = check.keys().keys()
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "notebooks").glob("*/*.ipynb")} < names
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("*/test_*.py")} < names
    assert digests.digest(1) != digests.digest(2)
