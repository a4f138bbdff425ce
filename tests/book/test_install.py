"""What is installed: little for the site, all for the tests; ``pip install .`` without this checkout imports whole."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from repo import ROOT

NEEDED = ("pyproject.toml", "README.md", "LICENSE", "dgm_helpers")


def third_party(paths):
    """Top-level names that the files import, in functions too, and that are not Python's."""
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names


def declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]}


def test_the_project_declares_what_the_package_imports():
    needed = third_party((ROOT / "dgm_helpers").rglob("*.py")) - {"dgm_helpers"}
    assert {name.lower() for name in needed} == declared()


def test_an_import_that_is_not_declared_is_found(tmp_path):
    (tmp_path / "x.py").write_text("import os\ndef f():\n    from pandas.api import types\n    import sympy.core\n")
    assert third_party([tmp_path / "x.py"]) == {"pandas", "sympy"}


# ---- two locks: `make book` installs little ----

SYSTEMS = (("linux", "posix", "x86_64"), ("linux", "posix", "aarch64"), ("darwin", "posix", "x86_64"),
           ("darwin", "posix", "arm64"), ("win32", "nt", "AMD64"))  # fmt: skip
PYTHONS = ("3.11.2", "3.11.9", "3.12.1", "3.13.0", "3.14.0")


def pins(lock, system, python):
    """What a lock installs there: {(name, version)}."""
    marks = dict(zip(("sys_platform", "os_name", "platform_machine"), system, strict=True))
    marks |= {"python_full_version": python, "python_version": python.rpartition(".")[0]}
    marks |= {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
    lines = [line for line in (ROOT / lock).read_text().splitlines() if line and not line.lstrip().startswith("#")]
    wanted = [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate(marks)]
    return {(canonicalize_name(r.name), str(r.specifier).removeprefix("==")) for r in wanted}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_sites_lock_is_a_part_of_the_whole_and_light(system, python):
    site, whole = (pins(lock, system, python) for lock in ("requirements-site.txt", "requirements.txt"))
    assert site - whole == set()
    assert [name for name, _ in site if re.match(r"torch|triton|nvidia|cuda", name)] == []
    assert {"torch", "pytest", "jupyterlab"} <= {name for name, _ in whole}


def test_the_site_is_built_with_its_lock_alone():
    """Whatever our part of the build imports, and Sphinx's extensions by name; CI builds with the whole environment."""
    used = third_party([*(ROOT / "book" / "_ext").glob("*.py"), ROOT / "tools" / "play_assets.py"])
    used |= set(yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["extra_extensions"])
    ours = {path.stem for folder in ("book/_ext", "tools") for path in (ROOT / folder).glob("*.py")}
    known = importlib.metadata.packages_distributions()
    modules = {name.split(".")[0] for name in used} - ours
    locked = {name for name, _ in pins("requirements-site.txt", SYSTEMS[0], PYTHONS[0])}
    assert len(modules) > 5
    assert [m for m in modules if not {canonicalize_name(name) for name in known.get(m, ())} & locked] == []


# ---- what make does ----


@pytest.fixture
def make(tmp_path):
    """``make(target, ...)`` with a stand-in for the environment -> the commands that were run in it."""
    log, folder = tmp_path / "log", tmp_path / "bin"
    folder.mkdir()
    for name in ("python", "uv"):
        (folder / name).write_text(
            f'#!/bin/sh\necho "{name} $*" >>{log}\ncase "$*" in *" -") cat >{tmp_path}/in;; esac\n'
        )
        (folder / name).chmod(0o755)

    def run(target, *settings):
        log.write_text("")
        command = ["make", f"{tmp_path}/{target}", f"VENV={tmp_path}", f"PYTHON={sys.executable}", *settings]
        clean = {k: v for k, v in os.environ.items() if k not in ("TORCH", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")}
        subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, check=True)
        return log.read_text().splitlines()

    return run


def test_the_whole_environment_comes_on_top_of_the_sites_and_stays(make):
    (site,) = make(".site")
    assert site.startswith("uv pip install")
    assert site.endswith("--no-deps --requirements requirements-site.txt")
    sync, own = make(".ready")
    assert "pip sync" in sync
    assert "torch" not in sync
    assert own.endswith("--no-deps --editable .")
    assert make(".site") == make(".ready") == []  # `make book` after `make test` takes nothing away


def test_torch_for_the_processor(make, tmp_path):
    assert "--torch-backend=cpu" in make(".ready", "TORCH=cpu")[1]
    lines, whole = (tmp_path / "in").read_text().splitlines(), (ROOT / "requirements.txt").read_text().splitlines()
    gone = {line.split("==")[0] for line in set(whole) - set(lines)}
    assert gone == {name for name in (line.split("==")[0] for line in whole) if re.match("nvidia-|cuda-|triton$", name)}
    assert {"nvidia-cublas", "triton"} <= gone
    with pytest.raises(subprocess.CalledProcessError) as error:
        make(".ready", "TORCH=cu126")
    assert "There is no TORCH=cu126" in error.value.stderr


# ---- the package as a wheel ----


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
    message = done.stderr[done.stderr.rindex("\nRuntimeError: ") :]  # what is raised, of several lines
    assert str(Path(done.args[0]).parents[1] / "lib") in message
    assert "weights/line.safetensors is missing" in message
    assert "DGM_WEIGHTS_DIR" in message
    stored = installed(LINE, DGM_RETRAIN="always", DGM_WEIGHTS_DIR=str(tmp_path))
    assert stored.returncode == 0, stored.stderr
    loaded = installed(LINE, DGM_RETRAIN="never", DGM_WEIGHTS_DIR=str(tmp_path))
    assert (loaded.returncode, loaded.stdout) == (0, stored.stdout), loaded.stderr
