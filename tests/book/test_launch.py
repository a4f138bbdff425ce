"""The repository's address, found where it is needed; the branch that Binder and Colab open; GitHub's workflows."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import launch_branch
import nbformat
import pytest
import repository
import yaml
from packaging.specifiers import SpecifierSet
from repo import ROOT, notebooks

from dgm_helpers.notebook.colab import PACKAGES

URL = "https://github.com/example-org/example.book"
NAMES = [str(path.relative_to(ROOT)) for path in notebooks()]
NOTEBOOK, DERIVATION = "notebooks/mcmc/kl_contraction", "book/mcmc/kl_contraction"  # quick to build
STATUS = json.loads((ROOT / "notebooks" / "status.json").read_text(encoding="utf8"))
QUICKEST = min(STATUS, key=lambda name: STATUS[name]["processor_seconds"])  # to execute


def git(*command, **variables):
    """Run git, as somebody, and return what it prints."""
    who = {f"GIT_{role}_{part}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    quick = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.compression", "GIT_CONFIG_VALUE_0": "0"}
    environment = os.environ | who | quick | variables
    return subprocess.run(["git", *command], env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The tracked and new files of the repository as a git repository of their own, without a remote."""
    target = tmp_path_factory.mktemp("launch") / "copy"
    listing = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others"]
    listing = subprocess.run([*listing, "--exclude-standard"], capture_output=True, text=True, check=True)
    for name in listing.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    git("init", "--quiet", "--initial-branch=main", str(target))
    git("-C", str(target), "add", "--all")
    git("-C", str(target), "commit", "--quiet", "--message=Copy")
    return target


# ---- the address ----


@pytest.mark.parametrize("name", ["example-org/example.book", "example-org/x.git.io", "example-org/git"])
@pytest.mark.parametrize(
    "form",
    [
        "https://github.com/{}",
        "https://github.com/{}/",
        "https://github.com/{}.git",
        "https://ann:secret@github.com/{}.git",
        "ssh://git@github.com/{}.git",
        "ssh://git@github.com:22/{}",
        "ssh://git@ssh.github.com:443/{}.git",
        "git@github.com:{}.git",
        "git@github.com:{}",
    ],
)
def test_every_form_of_a_remote(form, name, tmp_path):
    git("init", "--quiet", str(tmp_path))
    git("-C", str(tmp_path), "remote", "add", "origin", form.format(name))
    assert repository.address(tmp_path, environ={}) == f"https://github.com/{name}"


@pytest.mark.parametrize(
    "other",
    [
        "/srv/somewhere/book",
        "../book",
        "file:///srv/github.com/example-org/book",
        "https://gitlab.com/example-org/book",
        "https://github.com.example.org/a/b",
        "https://example.org/github.com/a/b",
        "https://github.com/example-org",
        "https://github.com/example-org/book/tree/main",
        "git@example.org:github.com/book.git",
        'https://github.com/example-org/"; import os',
    ],
)
def test_what_is_no_address(other, tmp_path):
    git("init", "--quiet", str(tmp_path))
    git("-C", str(tmp_path), "remote", "add", "origin", other)
    assert repository.address(tmp_path, environ={}) == ""


def test_a_short_form_of_the_address_is_written_out(tmp_path):
    git("init", "--quiet", str(tmp_path))
    git("-C", str(tmp_path), "config", "url.git@github.com:.insteadOf", "gh:")
    git("-C", str(tmp_path), "remote", "add", "origin", "gh:example-org/book")
    assert repository.address(tmp_path, environ={}) == "https://github.com/example-org/book"


def test_without_origin_git_or_a_repository_there_is_no_address(tmp_path, monkeypatch):
    assert repository.address(tmp_path, environ={}) == ""
    git("init", "--quiet", str(tmp_path))
    git("-C", str(tmp_path), "remote", "add", "upstream", URL)
    assert repository.address(tmp_path, environ={}) == ""
    git("-C", str(tmp_path), "remote", "rename", "upstream", "origin")
    assert repository.address(tmp_path, environ={}) == URL
    inside = tmp_path / "unpacked"  # the book's files inside somebody's own repository
    inside.mkdir()
    assert repository.address(inside, environ={}) == ""
    monkeypatch.setenv("PATH", "")
    assert repository.address(tmp_path, environ={}) == ""


def test_the_workflows_repository_comes_first(tmp_path):
    git("init", "--quiet", str(tmp_path))
    git("-C", str(tmp_path), "remote", "add", "origin", URL)
    here = {"GITHUB_REPOSITORY": "somebody/fork"}
    assert repository.address(tmp_path, here) == "https://github.com/somebody/fork"
    elsewhere = here | {"GITHUB_SERVER_URL": "https://git.example.org"}
    assert repository.address(tmp_path, elsewhere) == ""


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://github.com/Org/my.Book", "https://org.github.io/my.Book/"),
        ("https://github.com/Org/org.github.io", "https://org.github.io/"),
    ],
)
def test_where_pages_shows_a_repository(url, site):
    assert repository.pages(url) == site


# ---- main names no address, the branch `launch` does ----


def test_main_names_no_address():
    differ = [name for name, text in launch_branch.rewritten("").items() if text != (ROOT / name).read_text("utf8")]
    assert differ == [], "these belong to the branch `launch`: git checkout main -- ..."
    named = ("CITATION.cff", "pyproject.toml", "_config.yml")
    assert [name for name in named if "github.com/" in (ROOT / name).read_text()] == []
    assert set(NAMES) < launch_branch.rewritten("").keys()


@pytest.mark.parametrize("cell", ["import dgm_helpers\n", repository.SETUP.format(url="") + "\nimport math"])
def test_another_set_up_cell_is_named(cell):
    foreign = json.dumps({"cells": [{"cell_type": "code", "source": cell.splitlines(keepends=True)}]})
    with pytest.raises(ValueError, match="set-up cell of the other notebooks, and no more"):
        repository.set_up_cell(foreign, "")


def test_a_readme_without_a_place_for_the_badges_is_told():
    with pytest.raises(ValueError, match=r"README\.md to hold the lines"):
        launch_branch.with_badges("# Title", URL)


def test_the_set_up_is_short():
    """At most 8 lines, which also fit beside the table of contents with a long address."""
    lines = repository.SETUP.format(url=URL + 20 * "x").splitlines()
    assert len(lines) <= 8
    assert max(map(len, lines)) <= 88


def steps(workflow, job):
    return yaml.safe_load((ROOT / ".github" / "workflows" / workflow).read_text())["jobs"][job]["steps"]


def run_steps(workflow, job, folder, only, **variables):
    """Run the commands of a workflow's job that ``only`` accepts, as GitHub's runner does."""
    commands = [step["run"] for step in steps(workflow, job) if "run" in step and only(step["run"])]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GITHUB_"))} | variables
    for command in commands:
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command]
        done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return commands


@pytest.fixture(scope="module")
def launched(copy, tmp_path_factory):
    """(bare repository, checkout) after the Pages workflow's steps in a fork, twice: as after a second push."""
    bare, checkout = tmp_path_factory.mktemp("github") / "fork.git", tmp_path_factory.mktemp("runner") / "book"
    git("clone", "--quiet", "--bare", str(copy), str(bare))
    for name in ("core.compression", "pack.window"):  # what Colab fetches from here, weights above all, as it is
        git("-C", str(bare), "config", name, "0")
    git("clone", "--quiet", str(bare), str(checkout))
    for message in ("first", "second"):
        git("-C", str(checkout), "reset", "--hard", "--quiet")
        git("-C", str(checkout), "commit", "--quiet", "--allow-empty", f"--message={message}")
        git("-C", str(checkout), "push", "--quiet", "origin", "main")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        github = {"GITHUB_REPOSITORY": URL.removeprefix("https://github.com/"), "PATH": path}
        ran = run_steps("pages.yml", "build", checkout, lambda run: "launch_branch" in run, **github)
        assert [run.split()[-1] for run in ran] == ["tools/launch_branch.py", "--push"]
    return bare, checkout


def test_the_workflow_puts_one_commit_on_top_of_main(launched, copy):
    bare, checkout = launched
    main, launch = (git("-C", str(bare), "rev-parse", branch) for branch in ("main", "launch"))
    assert git("-C", str(bare), "rev-list", "--parents", "-1", "launch") == f"{launch} {main}"
    assert git("-C", str(bare), "log", "-1", "--format=%s", "main") == "second"
    changed = git("-C", str(bare), "diff", "--name-only", "main", "launch").splitlines()
    assert sorted(changed) == sorted(["README.md", *NAMES])
    for name in changed:
        text = git("-C", str(bare), "show", f"launch:{name}")
        assert "example-org/example.book" in text
        assert text == (checkout / name).read_text("utf8").strip()  # what the site is built from
        assert "example-org" not in git("-C", str(bare), "show", f"main:{name}")


def test_the_same_commit_gives_the_same_branch(launched):
    """Binder then keeps its image; and the checkout's own branch and index stay as they are."""
    bare, checkout = launched
    before = git("-C", str(bare), "rev-parse", "launch"), git("-C", str(checkout), "rev-parse", "HEAD")
    environment = os.environ | {"GITHUB_REPOSITORY": URL.removeprefix("https://github.com/")}
    push = [sys.executable, "tools/launch_branch.py", "--push"]
    done = subprocess.run(push, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == before[0]
    assert (git("-C", str(bare), "rev-parse", "launch"), git("-C", str(checkout), "rev-parse", "HEAD")) == before
    assert git("-C", str(checkout), "diff", "--cached", "--name-only") == ""


def test_without_an_address_no_branch_is_pushed(copy):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")}
    push = [sys.executable, "tools/launch_branch.py", "--push"]
    done = subprocess.run(push, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "neither GITHUB_REPOSITORY nor the remote `origin`" in done.stderr
    assert git("-C", str(copy), "status", "--short") == ""


# ---- Colab: torch is there, nothing of ours is ----


def bare_python(folder):
    """A Python that sees every installed package but the helpers: their editable install is not followed from here."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next(path for path in map(Path, sys.path) if (path / "torch").is_dir())
    (next(folder.glob("lib/python*/site-packages")) / "others.pth").write_text(f"{packages}\n")
    return folder / "bin" / "python"


def set_up(url=URL):
    notebook = json.loads(repository.set_up_cell((ROOT / NAMES[0]).read_text(encoding="utf8"), url))
    return "".join(next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")["source"]) + "\n"


def on_colab(folder, code, origin):
    """Run code there, with the address standing for a local copy, and without this checkout's variables."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "DGM_"))}
    environment |= {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": f"url.{origin.as_uri()}.insteadOf"}
    environment |= {"GIT_CONFIG_VALUE_0": URL, "GIT_CONFIG_KEY_1": "safe.directory", "GIT_CONFIG_VALUE_1": "*"}
    environment |= {"HOME": str(folder)}  # nor what a user has set up for Jupyter
    content = folder / "content"
    content.mkdir(exist_ok=True)
    command = [folder / "bin" / "python", "-c", code]
    return subprocess.run(command, cwd=content, env=environment, capture_output=True, text=True, check=False)


def test_colab_gets_the_helpers_with_their_weights_and_keeps_its_torch(launched, tmp_path):
    bare, _ = launched
    bare_python(tmp_path)
    assert "No module named 'dgm_helpers'" in on_colab(tmp_path, "import dgm_helpers", bare).stderr
    code = set_up() + (
        "import torch\nfrom dgm_helpers.notebook import benchmark_record\n"
        "from dgm_helpers.training import read_file, weights_dir\n"
        "read_file(weights_dir() / 'vae_2d.safetensors')\nbenchmark_record('banana_flows')\n"
        "print(torch.__file__, len(list(weights_dir().glob('*.safetensors'))), weights_dir(), sep='\\n')\n"
    )
    content = tmp_path / "content"
    lack = "from importlib import util\nfind = util.find_spec\n"
    lack += "util.find_spec = lambda name: None if name == 'arviz' else find(name)\n"
    for said in (["Installing arviz ..."], []):  # the second time the book is there
        done = on_colab(tmp_path, lack + code, bare)
        assert done.returncode == 0, done.stderr
        *installed, torch_file, weights, folder = done.stdout.splitlines()
        assert installed == said
        assert not torch_file.startswith(str(tmp_path))  # the one that was there
        assert int(weights) == len(list((ROOT / "weights").glob("*.safetensors")))
        assert Path(folder) == content / "book" / "weights"
        os.utime(content / "book", (0, 0))
    assert (content / "book").stat().st_mtime == 0  # fetched once


EXECUTE = r"""
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read("opened.ipynb", as_version=4)
notebook.cells.append(nbformat.v4.new_code_cell("import dgm_helpers\nprint(torch.__file__, dgm_helpers.__file__)"))
NotebookClient(notebook, kernel_name="python3").execute()
nbformat.write(notebook, "opened.ipynb")
"""


def texts(notebook):
    """What the check cells print."""
    cells = [c for c in notebook.cells if "NBVAL_CHECK_OUTPUT" in c.source]
    return [output.text for cell in cells for output in cell.outputs if output.output_type == "stream"]


def test_a_notebook_of_the_branch_runs_to_its_end_on_colab(launched, tmp_path):
    bare, _ = launched
    bare_python(tmp_path)
    content = tmp_path / "content"
    content.mkdir()
    text = git("-C", str(bare), "show", f"launch:{QUICKEST}")
    (content / "opened.ipynb").write_text(text, encoding="utf8")
    done = on_colab(tmp_path, EXECUTE, bare)
    assert done.returncode == 0, done.stderr[-2000:]
    *cells, last = (notebook := nbformat.read(content / "opened.ipynb", as_version=4)).cells
    torch_file, helpers = last.outputs[0].text.split()
    assert not torch_file.startswith(str(tmp_path))  # the one that was there
    assert Path(helpers).resolve() == (content / "book" / "dgm_helpers" / "__init__.py").resolve()
    assert all(cell.execution_count for cell in cells if cell.cell_type == "code")
    assert texts(notebook) == texts(nbformat.reads(text, as_version=4)) != []


@pytest.mark.parametrize("url", ["", "https://github.com/example-org/gone"])
def test_where_the_book_cannot_be_fetched_the_cell_says_what_to_do(url, copy, tmp_path):
    bare_python(tmp_path)
    missing = tmp_path / "gone"
    code = set_up(url).replace("https://github.com/example-org/gone", missing.as_uri())
    done = on_colab(tmp_path, code, copy)
    assert done.returncode == 1
    address = missing.as_uri() if url else ""
    assert f"Run git clone {address} book; pip install -e 'book[notebooks]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_install_missing_asks_pip_for_the_missing_alone(monkeypatch):
    from importlib.metadata import version

    from dgm_helpers.notebook import colab

    asked, packages = [], {"torch": ">=2", "no_such_package": ">=1,<2"}

    def pip(command, **_):
        asked.append(command[5:])
        return subprocess.CompletedProcess(command, returncode=1, stdout="", stderr="no network")

    monkeypatch.setattr(colab.subprocess, "run", pip)
    assert colab.install_missing({"torch": ">=2", "numpy": ">=9"}) == []  # what is there stays as it is
    with pytest.raises(SystemExit, match="could not install no_such_package: no network"):
        colab.install_missing(packages)
    assert asked == [["no_such_package>=1,<2", f"torch=={version('torch')}"]]


PIP = "import json, sys\njson.dump(sys.argv[1:], open('asked.json', 'w'))\nsys.exit('no network')\n"


def test_on_a_machine_with_nothing_the_set_up_asks_for_everything(launched, tmp_path):
    """Python, git and a pip that only notes what it is asked for."""
    bare, _ = launched
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    pip = next(tmp_path.glob("lib/python*/site-packages")) / "pip"
    pip.mkdir()
    (pip / "__main__.py").write_text(PIP)
    done = on_colab(tmp_path, set_up(), bare)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith("networkx: no network")
    asked = json.loads((tmp_path / "content" / "asked.json").read_text())
    assert asked == ["install", "--quiet", *(name + versions for name, versions in PACKAGES.items())]


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
    assert binder.keys() == set(PACKAGES)
    unfit = [name for name, version in binder.items() if not SpecifierSet(PACKAGES[name]).contains(version)]
    assert unfit == []


def test_the_notebooks_extra_completes_what_the_package_needs():
    """``pip install -e 'book[notebooks]'`` brings what the set-up cell would fetch."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *project["optional-dependencies"]["notebooks"]]
    assert PACKAGES.keys() <= {re.match(r"[\w-]+", requirement)[0] for requirement in named}


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


@pytest.fixture(scope="module")
def clone(copy, tmp_path_factory):
    """``clone(remote)`` builds two pages of a clone, which its table of contents names, and returns them."""
    target = tmp_path_factory.mktemp("clone") / "book"
    git("clone", "--quiet", str(copy), str(target))
    toc = {"format": "jb-book", "root": DERIVATION, "chapters": [{"file": NOTEBOOK}]}
    (target / "_toc.yml").write_text(yaml.safe_dump(toc))

    def build(remote):
        git("-C", str(target), "remote", "set-url", "origin", remote)
        shutil.rmtree(target / "_build", ignore_errors=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")}
        command = [Path(sys.executable).with_name("jupyter-book"), "build", str(target), "--quiet"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        html = target / "_build" / "html"
        return [(html / page).with_suffix(".html").read_text(encoding="utf8") for page in (DERIVATION, NOTEBOOK)]

    return build


@pytest.mark.site
def test_a_page_of_a_notebook_can_be_launched_where_the_remote_is_on_github(clone):
    derivation, notebook = clone("git@github.com:example-org/example.book.git")
    assert (
        f'"https://colab.research.google.com/github/example-org/example.book/blob/launch/{NOTEBOOK}.ipynb"' in notebook
    )
    path = f"example-org/example.book/launch?urlpath=lab/tree/{NOTEBOOK}.ipynb"
    assert f'"https://mybinder.org/v2/gh/{path}"' in notebook
    assert "mybinder.org" not in derivation  # it is no notebook
    for page, name in ((derivation, DERIVATION), (notebook, NOTEBOOK)):
        assert f'<link rel="canonical" href="https://example-org.github.io/example.book/{name}.html"' in page


@pytest.mark.site
def test_a_clone_of_a_clone_has_no_buttons(clone, copy):
    """Its remote is a path."""
    for page in clone(str(copy)):
        assert "colab.research.google.com" not in page
        assert "mybinder.org" not in page
        assert 'rel="canonical"' not in page


def test_a_link_to_edit_leads_to_main():
    """The theme takes the launch buttons' branch for them too."""
    from types import SimpleNamespace

    import dgm_launch
    from sphinx_book_theme.header_buttons import update_context_with_repository_info

    options = {"repository_url": URL, "repository_branch": repository.BRANCH}
    config = SimpleNamespace(html_theme_options=options, html_context={})
    app = SimpleNamespace(config=config, builder=SimpleNamespace(theme_options=options))
    update_context_with_repository_info(app)
    assert config.html_context["github_version"] == "launch"
    dgm_launch.edit_main(app)
    assert config.html_context["github_version"] == "main"


# ---- GitHub's workflows ----


def as_list(value):
    return [value] if isinstance(value, str) else list(value)


def wrong(text, targets):
    """What is wrong with a workflow: its keys, what a job needs, unpinned actions, commands that are not there."""
    workflow = yaml.safe_load(text)
    found = [f"no {key}" for key in ("name", True, "permissions", "jobs") if key not in workflow]  # `on` reads as True
    jobs = workflow.get("jobs", {})
    for name, job in jobs.items():
        found += [f"{name} needs {other}" for other in as_list(job.get("needs", ())) if other not in jobs]
        if "uses" in job:
            if not (ROOT / job["uses"]).is_file():
                found.append(f"{name} uses {job['uses']}")
            continue
        found += [f"{name} has no {key}" for key in ("runs-on", "timeout-minutes") if key not in job]
        for step in job.get("steps", ()):
            if "uses" in step and not re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]):
                found.append(f"{name} uses {step['uses']}")
            command = step.get("run", "")
            called = re.findall(r"\bmake (?:--touch )?([a-z]+)", command)
            found += [f"{name}: make {target}" for target in called if target not in targets]
            scripts = re.findall(r"\b(tools/\w+\.py)", command)
            found += [f"{name}: {script}" for script in scripts if not (ROOT / script).is_file()]
    return found


def makefile_targets():
    return set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_the_workflow_is_whole(path):
    assert wrong(path.read_text(), makefile_targets()) == []


@pytest.mark.parametrize(
    ("good", "bad", "what"),
    [
        ("needs: build", "needs: built", "deploy needs built"),
        ("./.github/workflows/ci.yml", "./.github/workflows/no.yml", "test uses ./.github/workflows/no.yml"),
        ("actions/checkout@v4", "actions/checkout@main", "build uses actions/checkout@main"),
        ("make book", "make books", "build: make books"),
        ("tools/launch_branch.py --push", "tools/launch.py --push", "build: tools/launch.py"),
        ("timeout-minutes: 10", "name: x", "deploy has no timeout-minutes"),
        ("on:", "'on':", "no True"),
    ],
)
def test_a_broken_workflow_is_told(good, bad, what):
    text = (ROOT / ".github" / "workflows" / "pages.yml").read_text()
    assert good in text
    assert what in wrong(text.replace(good, bad), makefile_targets())


def test_pages_are_published_after_the_tests_alone():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "pages.yml").read_text())["jobs"]
    (publishing,) = (name for name, job in jobs.items() if "actions/deploy-pages" in str(job))
    chain = [publishing]
    while "needs" in jobs[chain[-1]]:
        chain += as_list(jobs[chain[-1]]["needs"])
    assert jobs[chain[-1]]["uses"] == "./.github/workflows/ci.yml"
    assert any(step.get("run", "").startswith("make test ") for step in steps("ci.yml", "test"))
    writing = [name for name, job in jobs.items() if job.get("permissions", {}).get("contents") == "write"]
    assert writing == ["build"]


def run_by(arguments):
    """The test files and notebooks that pytest finds below its arguments, which may be paths and --ignore=path."""
    found, ignored = set(), [ROOT / a.removeprefix("--ignore=") for a in arguments.split() if a.startswith("--")]
    for folder in (ROOT / a for a in arguments.split() if not a.startswith("--")):
        found |= {*folder.rglob("test_*.py"), *folder.rglob("*.ipynb")}
    return {path for path in found if not any(path.is_relative_to(folder) for folder in ignored)}


def ci():
    return yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]


def test_the_parts_of_ci_are_together_what_make_test_runs_and_none_runs_twice():
    parts = [run_by(part["tests"]) for part in ci()["test"]["strategy"]["matrix"]["part"]]
    default = re.search(r"(?m)^TESTS \?= (.*)$", (ROOT / "Makefile").read_text())[1]
    assert set.union(*parts) == run_by(default)
    assert sum(map(len, parts)) == len(run_by(default)) > 60
    assert min(map(len, parts)) > 5
    (command,) = (step["run"] for step in steps("ci.yml", "test") if "make" in step.get("run", ""))
    assert command == 'make test TORCH=cpu TESTS="${{ matrix.part.tests }}"'
    assert "if" not in str(ci()["test"].keys())  # no part is left out


def test_the_packages_job_runs_every_test_of_the_package_with_both_ends_of_torch():
    """Its folders are all of ``tests/`` but those of the book, the site and the notebooks' helpers."""
    job = ci()["package"]
    (command,) = (step["run"] for step in job["steps"] if "pytest tests" in step.get("run", ""))
    folders = set(re.search(r"tests/\{([\w,]+)\}", command)[1].split(","))
    assert folders == {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")} - {"book", "site", "notebook"}
    ends = {entry["resolution"] for entry in job["strategy"]["matrix"]["include"]}
    assert ends == {"lowest-direct", "highest"}
    (install,) = (step["run"] for step in job["steps"] if "torch.in" in step.get("run", ""))
    line = next(line for line in install.splitlines() if line.startswith("grep"))
    asked = subprocess.run(
        ["bash", "-c", line.split(">torch.in")[0]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert asked.stdout.split() == [need for need in needs if need.startswith("torch")]


def test_a_scheduled_job_asks_for_the_other_systems():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "platforms.yml").read_text())
    assert workflow[True]["schedule"]  # `on` reads as True
    assert "make platforms" in [step.get("run") for step in steps("platforms.yml", "platforms")]


def test_what_the_newest_job_installed_is_not_replaced(tmp_path):
    """`make --touch test` takes the environment as it is; a second `make test` then installs nothing."""
    for name in ("Makefile", "pyproject.toml", *(path.name for path in ROOT.glob("requirements*"))):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)

    def make(*arguments):
        return subprocess.run(["make", *arguments], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    install = re.compile(r"\b(?:uv|pip) (?:pip )?(?:sync|install)\b")
    assert install.search(make("--dry-run", "test"))
    assert "make --touch test" in [step.get("run") for step in steps("newest.yml", "test")]
    make("--touch", "test")
    assert not install.search(make("--dry-run", "test"))
    assert "pytest" in make("--dry-run", "test")


def test_the_newest_job_asks_for_no_version_but_the_book_of_the_first_kind(tmp_path):
    for path in ROOT.glob("requirements*.in"):
        shutil.copy(path, tmp_path)
    (tmp_path / "requirements.in").write_text((tmp_path / "requirements.in").read_text() + "other==1.2 ; x == 'y'\n")
    (command,) = (step["run"] for step in steps("newest.yml", "test") if "newest" in step.get("run", ""))
    lines = [line for line in command.splitlines() if line.startswith(("mkdir", "sed"))]
    subprocess.run(["bash", "-ec", "\n".join(lines)], cwd=tmp_path, check=True)
    asked = "".join(path.read_text() for path in (tmp_path / "newest").glob("*.in"))
    assert "\njupyter-book<2" in asked
    assert re.findall(r"(?m)^[^#\n]*==\S*", asked) == ["other ; x =="]
