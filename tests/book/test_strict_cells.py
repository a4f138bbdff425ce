"""A cell that asks for a magic that does not exist, or whose shell command fails, fails the run."""

import os
import re
import subprocess
import sys

import execute
import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from repo import ROOT

FAIL = "%notmagic", "%%notmagic\n1", "!exit 3", "x = !exit 3", "%%sh\nexit 3"
PASS = "%time x = 1\nassert x == 1", "!true", "name = 'b'\nx = !echo $name\nassert x == ['b']"


def write(path, cells):
    cells = [nbformat.v4.new_code_cell(source, execution_count=1) for source in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_make_test_fails_at_them(tmp_path):
    setting = re.search(r"PYTHONSTARTUP=\$\(CURDIR\)/(\S+)", (ROOT / "Makefile").read_text())[1]
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-rA", "-p", "no:cacheprovider"]
    path = write(tmp_path / "cells.ipynb", FAIL + PASS)
    environment = os.environ | {"PYTHONSTARTUP": str(ROOT / setting)}
    done = subprocess.run([*command, path], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    came = {int(cell): word for word, cell in re.findall(r"^(PASSED|FAILED) \S+::Cell (\d+)", done.stdout, re.M)}
    words = ["FAILED"] * len(FAIL) + ["PASSED"] * len(PASS)
    assert came == dict(enumerate(words)), done.stdout


def test_an_execution_stops_at_them(tmp_path):
    path = write(tmp_path / "cells.ipynb", ["x = !exit 3"])
    before = path.read_bytes()
    with pytest.raises(CellExecutionError, match="exit 3"):
        execute.execute(path)
    assert path.read_bytes() == before
