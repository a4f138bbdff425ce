"""Run the tests and notebooks that a change can affect: those whose sources have not yet passed on this machine.

    make check                     which calls this with the options that pytest gets in `make test`
    python tools/check.py --list   says what would run, and runs nothing

A notebook's sources are its code cells and compared outputs, the modules of ours that it imports, the weights that it
loads, and the lock. A test of the package depends on the modules that it imports, the test files beside it, all
weights, and the lock; a test of the repository or of the site, on every file. `make test` always runs everything.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import digests
import pytest

ROOT = Path(__file__).resolve().parent.parent
WHOLE = "tests/book/", "tests/site/"  # these read pages, tools, the configuration, the built site
PROGRAMS = "nvidia-smi", "chromium", "chromium-browser", "google-chrome"  # some tests are skipped without


def record(root=ROOT):
    """The file in the user's cache that holds what has passed, one for each checkout."""
    folder = Path(os.environ.get("DGM_CACHE_DIR") or Path.home() / ".cache" / "dgm_helpers").expanduser()
    return folder / f"passed-{digests.digest(str(root))}.json"


def contents(root=ROOT):
    """{path: identity of its content} of every file that git tracks or does not ignore."""

    def git(*command, **options):
        return subprocess.run(
            ["git", "-C", root, *command], capture_output=True, text=True, check=True, **options
        ).stdout

    listed = (line.split("\t", 1) for line in git("ls-files", "-z", "--stage").split("\0") if line)
    files = {path: what.split()[1] for what, path in listed}
    changed = set(git("ls-files", "-z", "--modified", "--others", "--exclude-standard").split("\0")) - {""}
    there = [path for path in sorted(changed) if (root / path).is_file()]
    hashes = git("hash-object", "--stdin-paths", input="".join(f"{path}\n" for path in there)).split()
    return {path: name for path, name in files.items() if path not in changed} | dict(zip(there, hashes, strict=True))


def machine():
    return [platform.platform(), sys.version, [bool(shutil.which(program)) for program in PROGRAMS]]


def keys(root=ROOT):
    """{path: key} of every notebook and test file: the key changes with anything that the file depends on."""
    files, modules = contents(root), digests.Modules(root)
    loaded = digests.read(root / "notebooks" / "digests.json")

    def under(*prefixes):
        return {path: name for path, name in files.items() if path.startswith(prefixes)}

    common, found = [machine(), under("requirements.txt", "pyproject.toml")], {}
    for path in files:
        parts = Path(path).parts
        if parts[0] == "notebooks" and path.endswith(".ipynb"):
            cells = json.loads((root / path).read_text(encoding="utf8"))["cells"]
            compared = [cell["outputs"] for cell in cells if "# NBVAL_CHECK_OUTPUT" in "".join(cell["source"])]
            weights = [f"weights/{name}" for name in loaded.get(path, {}).get("weights", ())]
            own = [digests.sources(root / path, root), compared, [files.get(name) for name in weights]]
        elif parts[0] == "tests" and parts[-1].startswith("test_") and path.endswith(".py"):
            tests = [p for p in under(f"{Path(path).parent.as_posix()}/") if p.endswith(".py")]
            trees = [digests.parse((root / p).read_text(encoding="utf8")) for p in tests]
            shared = {p: name for p, name in under("tests/").items() if len(Path(p).parts) == 2}
            own = files if path.startswith(WHOLE) else [under(*tests, "weights/"), shared, modules.used_by(trees)]
        else:
            continue
        found[path] = digests.digest([common, own])
    return found


class Results:
    """What pytest says of the files, by path relative to its root."""

    def __init__(self):
        self.seen, self.failed = set(), set()

    def pytest_runtest_logreport(self, report):
        path = report.nodeid.split("::")[0]
        self.seen.add(path)
        if report.failed:
            self.failed.add(path)


def main(options):
    before = keys()
    passed = json.loads(record().read_text(encoding="utf8")) if record().exists() else {}
    due = sorted(path for path, key in before.items() if passed.get(path) != key)
    print(f"skipped: {len(before) - len(due)} of {len(before)} files, which have passed here with the same sources")
    print("".join(f"  {path}\n" for path in due) or "nothing to run\n", end="")
    if not due or options == ["--list"]:
        return 0
    if any(path.startswith(WHOLE) for path in due):
        subprocess.run(["make", "site"], cwd=ROOT, check=True)
    os.chdir(ROOT)
    results = Results()
    code = pytest.main([*due, *options], plugins=[results])
    if code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):  # not when it was interrupted
        good = {path: before[path] for path in due if path in results.seen - results.failed}
        record().parent.mkdir(parents=True, exist_ok=True)
        partial = record().with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(passed | good, indent=1), encoding="utf8")
        os.replace(partial, record())
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
