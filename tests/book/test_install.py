"""``pip install .`` into an environment without this checkout: every package imports; missing weights are named."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from repo import ROOT

NEEDED = ("pyproject.toml", "README.md", "LICENSE", "dgm_helpers")


def third_party(package=ROOT / "dgm_helpers"):
    """Top-level names that the package imports, in functions too, and that are neither Python's nor ours."""
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {"dgm_helpers"}


def declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]}


def test_the_project_declares_what_the_package_imports():
    assert {name.lower() for name in third_party()} == declared()


def test_an_import_that_is_not_declared_is_found(tmp_path):
    (tmp_path / "x.py").write_text("import os\ndef f():\n    from pandas.api import types\n    import sympy.core\n")
    assert third_party(tmp_path) == {"pandas", "sympy"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """``run(code)`` in an environment that sees the other packages of this one, but our package as a wheel alone.

    Without a network: uv builds the wheel with the setuptools of this environment. From a copy, as setuptools leaves
    its own folders beside what it builds.
    """
    folder = tmp_path_factory.mktemp("install")
    source, python = folder / "source", folder / "environment" / "bin" / "python"
    source.mkdir()
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", python.parents[1]], check=True)
    site = next(python.parents[1].glob("lib/python*/site-packages"))
    packages = next(path for path in map(Path, sys.path) if (path / "torch").is_dir())
    (site / "others.pth").write_text(f"{packages}\n")  # its own .pth files, so also our editable install, do not count
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    command = [uv, "pip", "install", "--offline", "--no-deps", "--no-build-isolation", "--python", python, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(source)

    def run(code, **variables):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "DGM_"))} | variables
        return subprocess.run(
            [python, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return run


def test_every_package_imports_outside_the_repository(installed):
    names = sorted(path.parent.name for path in (ROOT / "dgm_helpers").glob("*/__init__.py"))
    done = installed(f"import dgm_helpers.{', dgm_helpers.'.join(names)}\nprint(dgm_helpers.__file__)")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(Path(done.args[0]).parents[1])


LINE = """
import torch
from dgm_helpers.training import Run
x = torch.ones(8, 1)
loss = lambda model, x, generator: (model(x) - 3).square().mean()
line = lambda: torch.nn.Linear(1, 1)
model, _ = Run("line", model=line, loss=loss, data=x, seed=0, epochs=1, batch_size=4).load(progress=False)
print(model.weight.item())
"""


def test_without_the_books_weights_it_says_what_to_do(installed, tmp_path):
    done = installed(LINE, DGM_RETRAIN="never")
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("RuntimeError: ")
    assert str(Path(done.args[0]).parents[1] / "lib") in message
    assert "weights/line.safetensors is missing" in message
    assert "DGM_WEIGHTS_DIR" in message
    stored = installed(LINE, DGM_RETRAIN="always", DGM_WEIGHTS_DIR=str(tmp_path))
    assert stored.returncode == 0, stored.stderr
    loaded = installed(LINE, DGM_RETRAIN="never", DGM_WEIGHTS_DIR=str(tmp_path))
    assert (loaded.returncode, loaded.stdout) == (0, stored.stdout), loaded.stderr
