"""The repository's address in every place that needs it; the notebooks opened on Binder and on Colab."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import repository
import yaml
from repo import ROOT, notebooks

URL = "https://github.com/example-org/example.book"
NAMES = [str(path.relative_to(ROOT)) for path in notebooks()]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The tracked and new files of the repository, with an address set, as a git repository of their own."""
    target = tmp_path_factory.mktemp("launch") / "book"
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    for path, text in repository.rewritten(URL, target).items():
        (target / path).write_text(text, encoding="utf8")
    git = ["git", "-C", str(target), "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run([*git, "init", "--quiet", "--initial-branch=main"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=Copy"], check=True)
    return target


# ---- one setting, and every place that follows it ----


def test_every_place_agrees_with_the_setting():
    files = repository.rewritten(repository.setting())
    differ = [path for path, text in files.items() if (ROOT / path).read_text(encoding="utf8") != text]
    assert differ == [], "run `make repository URL=...` (URL= for none)"
    assert set(NAMES) <= files.keys()


def test_an_address_reaches_every_place_and_leaves_without_a_trace(copy):
    before = {path: (ROOT / path).read_text(encoding="utf8") for path in repository.rewritten("")}
    for path in before:
        assert URL in (copy / path).read_text(encoding="utf8"), path
    assert repository.setting(copy) == URL
    assert repository.rewritten(URL, copy) == {path: (copy / path).read_text(encoding="utf8") for path in before}
    assert repository.rewritten(repository.setting(), copy) == before
    assert yaml.safe_load((copy / "_config.yml").read_text())["repository"]["url"] == URL
    assert yaml.safe_load((copy / "CITATION.cff").read_text())["repository-code"] == URL


@pytest.mark.parametrize("pasted", [URL, URL + "/", URL + ".git", f" {URL}\n"])
def test_an_address_as_people_paste_it(pasted):
    assert repository.checked(pasted) == URL


@pytest.mark.parametrize(
    "wrong", ["example/book", "https://example.org/a/b", "https://github.com/a", URL + "/tree/main"]
)
def test_what_is_no_address(wrong):
    with pytest.raises(ValueError, match=r"expected https://github\.com/ORG/REPO, got"):
        repository.checked(wrong)


@pytest.mark.parametrize("cell", ["import dgm_helpers\n", repository.SETUP.format(url="") + "\nimport math"])
def test_another_set_up_cell_is_named(cell):
    foreign = json.dumps({"cells": [{"cell_type": "code", "source": cell.splitlines(keepends=True)}]})
    with pytest.raises(ValueError, match="set-up cell of the other notebooks, and no more"):
        repository.set_up_cell(foreign, "")


def test_the_set_up_is_short():
    """At most 8 lines, which also fit beside the table of contents with a long address."""
    lines = repository.SETUP.format(url=URL + 20 * "x").splitlines()
    assert len(lines) <= 8
    assert max(map(len, lines)) <= 88


# ---- Colab: torch is there, nothing of ours is ----


def bare_python(folder):
    """A Python that sees every installed package but the helpers: their editable install is not followed from here."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next(path for path in map(Path, sys.path) if (path / "torch").is_dir())
    (next(folder.glob("lib/python*/site-packages")) / "others.pth").write_text(f"{packages}\n")
    return folder / "bin" / "python"


def set_up(path, url=URL):
    notebook = json.loads(repository.set_up_cell(path.read_text(encoding="utf8"), url))
    return "".join(next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")["source"]) + "\n"


def on_colab(folder, code, origin):
    """Run code there, with the address standing for a local copy, and without this checkout's variables."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "DGM_"))}
    environment |= {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": f"url.{origin.as_uri()}.insteadOf"}
    environment |= {"GIT_CONFIG_VALUE_0": URL, "GIT_CONFIG_KEY_1": "safe.directory", "GIT_CONFIG_VALUE_1": "*"}
    content = folder / "content"
    content.mkdir(exist_ok=True)
    command = [folder / "bin" / "python", "-c", code]
    return subprocess.run(command, cwd=content, env=environment, capture_output=True, text=True, check=False)


def test_colab_gets_the_helpers_with_their_weights_and_keeps_its_torch(copy, tmp_path):
    bare_python(tmp_path)
    assert "No module named 'dgm_helpers'" in on_colab(tmp_path, "import dgm_helpers", copy).stderr
    code = set_up(ROOT / NAMES[0]) + (
        "import torch\nfrom dgm_helpers.notebook import benchmark_record\n"
        "from dgm_helpers.training import read_file, weights_dir\n"
        "read_file(weights_dir() / 'vae_2d.safetensors')\nbenchmark_record('banana_flows')\n"
        "print(torch.__file__, len(list(weights_dir().glob('*.safetensors'))), weights_dir(), sep='\\n')\n"
    )
    content = tmp_path / "content"
    lack = "from importlib import util\nfind = util.find_spec\n"
    lack += "util.find_spec = lambda name: None if name == 'arviz' else find(name)\n"
    for said in (["Installing arviz ..."], []):  # the second time the book is there
        done = on_colab(tmp_path, lack + code, copy)
        assert done.returncode == 0, done.stderr
        *installed, torch_file, weights, folder = done.stdout.splitlines()
        assert installed == said
        assert not torch_file.startswith(str(tmp_path))  # the one that was there
        assert int(weights) == len(list((ROOT / "weights").glob("*.safetensors")))
        assert Path(folder) == content / "book" / "weights"
        os.utime(content / "book", (0, 0))
    assert (content / "book").stat().st_mtime == 0  # fetched once


@pytest.mark.parametrize("url", ["", "https://github.com/example-org/gone"])
def test_where_the_book_cannot_be_fetched_the_cell_says_what_to_do(url, copy, tmp_path):
    bare_python(tmp_path)
    missing = tmp_path / "gone"
    code = set_up(ROOT / NAMES[0], url).replace("https://github.com/example-org/gone", missing.as_uri())
    done = on_colab(tmp_path, code, copy)
    assert done.returncode == 1
    assert "Helpers are missing: clone the book and `pip install -e` it." in done.stderr
    assert "Traceback" not in done.stderr


def test_install_missing_asks_pip_for_the_missing_alone(monkeypatch):
    from dgm_helpers.notebook import colab

    asked = []

    def pip(command, **_):
        asked.append(command[5:])
        return subprocess.CompletedProcess(command, returncode=1, stdout="", stderr="no network")

    monkeypatch.setattr(colab.subprocess, "run", pip)
    assert colab.install_missing(["torch", "numpy"]) == []
    with pytest.raises(SystemExit, match="could not install no_such_package: no network"):
        colab.install_missing(["torch", "no_such_package"])
    assert asked == [["no_such_package"]]


# ---- Binder ----


def pins(path):
    lines = [line.split(" ;")[0].strip() for line in path.read_text().splitlines()]
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith(("#", "-")))


def test_binder_has_the_versions_of_the_lock_on_its_python():
    locked = {}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        name, mark, rest = line.partition("==")
        version, _, condition = rest.partition(" ; ")
        if mark and "python_full_version >=" not in condition:  # the other half of a pair is for newer Pythons
            locked[name] = version
    binder = pins(ROOT / "binder" / "requirements.txt")
    assert {name: version.removesuffix("+cpu") for name, version in binder.items()} == {n: locked[n] for n in binder}
    assert (ROOT / "binder" / "runtime.txt").read_text().strip() == "python-3.11"
    from dgm_helpers.notebook.colab import PACKAGES

    assert set(PACKAGES) == binder.keys()


def test_binder_turns_into_a_dockerfile(copy):
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    dockerfile = done.stdout + done.stderr
    assert done.returncode == 0, dockerfile[-2000:]
    assert "FROM " in dockerfile
    assert "binder/requirements.txt" in dockerfile
    assert "binder/postBuild" in dockerfile
    assert "python-3.11" in dockerfile or "py3.11" in dockerfile or "3.11" in dockerfile


# ---- the site ----


@pytest.mark.site
def test_every_notebook_page_can_be_launched_once_there_is_an_address(copy):
    build = [Path(sys.executable).with_name("jupyter-book"), "build", str(copy), "--quiet"]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    path = URL.removeprefix("https://github.com/")
    for name in NAMES:
        page = (copy / "_build" / "html" / name).with_suffix(".html").read_text(encoding="utf8")
        assert f"https://colab.research.google.com/github/{path}/blob/main/{name}" in page
        assert f"https://mybinder.org/v2/gh/{path}/main?urlpath=lab/tree/{name}" in page


@pytest.mark.site
def test_without_an_address_no_button_leads_nowhere():
    if repository.setting() == "":
        for name in NAMES:
            page = (ROOT / "_build" / "html" / name).with_suffix(".html").read_text(encoding="utf8")
            assert "colab.research.google.com" not in page
            assert "mybinder.org" not in page
