"""What makes each check of the notebooks fail: a named wrong formula or setting, tried on the notebook itself.

    python tools/claims.py                            which checks have no entry, and which entries no check
    python tools/claims.py --run notebooks/a/b.ipynb  tries what was not tried as it is now
    python tools/claims.py --run --claim "the words" notebooks/a/b.ipynb         tries these again

The entries lie in tests/claims/CHAPTER/NOTEBOOK.toml, one table for each check, under its claim, braces included:

    ["{name}: the mean is right"]
    wrong = "a variance taken for a standard deviation"        what is wrong, in words
    old = "noise_var.sqrt()"                                   code of the notebook, or of ``file``, up to the check
    new = "noise_var"                                          what stands there instead
    file = "dgm_helpers/probability/densities.py"              where, if not in the notebook
    kind = "code"                                              the claim holds by algebra: it tests the code
    minutes = 3                                                it takes longer than a minute
    tried = false                                              it was not tried yet; --run takes the line away

An entry is tried in a copy of the notebook's state: every cell runs, and before the cell that an entry changes (of a
module: before the first cell after the imports) the process forks. The child changes the code, runs the cells that the
check needs, and says whether the check failed. Where the change makes the notebook stop before, it did not fail. A
child that changes a module is compared with one that changes nothing. What was seen goes into tests/claims/seen.json,
with a digest of the entry and of the code that it names: an entry that has changed is tried again.
"""

import argparse
import ast
import contextlib
import functools
import hashlib
import importlib
import json
import os
import re
import sys
import time
import tomllib
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENTRIES = ROOT / "tests" / "claims"
SEEN = ENTRIES / "seen.json"
KEYS = {"wrong", "old", "new", "file", "kind", "minutes", "tried"}


# ---- the claims of a notebook, read from its code ----


def code_cells(path):
    return list(read_cells(path, path.stat().st_mtime_ns))


@functools.cache
def read_cells(path, time):
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    return tuple("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def template(node, names):
    """The text of a claim with its variable parts in braces; ``names`` holds the texts of variables so far."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = [
            (p.value, names.get(ast.unparse(p.value))) if isinstance(p, ast.FormattedValue) else p for p in node.values
        ]
        return "".join((p[1] or f"{{{ast.unparse(p[0])}}}") if isinstance(p, tuple) else p.value for p in parts)
    if isinstance(node, ast.BinOp):
        return template(node.left, names) + template(node.right, names)
    return names.get(ast.unparse(node)) or f"{{{ast.unparse(node)}}}"


def claims(source, wrappers):
    """[(claim, line)] of the checks in a cell, in their order.

    wrappers: functions of the cells before that check what their first argument says; those of this cell are added.
    """
    tree, names, found = ast.parse(source), {}, []
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        calls = [n for n in ast.walk(function) if is_check(n)]
        if calls and function.args.args:
            wrappers[function.name] = function.args.args[0].arg, calls[0]
    inside = {id(call) for _, call in wrappers.values()}
    nodes = [n for n in ast.walk(tree) if isinstance(n, (ast.Assign, ast.Call)) and id(n) not in inside]
    for node in sorted(nodes, key=lambda n: (n.lineno, n.col_offset)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and is_text(node.value):
            names[node.targets[0].id] = template(node.value, names)
        elif (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Tuple)
            and isinstance(node.value, ast.Tuple)
        ):
            pairs = zip(node.targets[0].elts, node.value.elts, strict=False)
            names |= {a.id: template(b, names) for a, b in pairs if isinstance(a, ast.Name) and is_text(b)}
        elif is_check(node):
            found.append((template(node.args[0], names), node.lineno))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", None) in wrappers:
            name, call = wrappers[node.func.id]
            found.append((template(call.args[0], names | {name: template(node.args[0], names)}), node.lineno))
    return found


def is_check(node):
    return isinstance(node, ast.Call) and getattr(node.func, "id", None) == "check"


def is_text(node):
    return isinstance(node, ast.JoinedStr | ast.BinOp) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def all_claims(path):
    """{claim: index of its cell among the code cells} of a notebook; a second one of the same words is "... (2)"."""
    return dict(claims_of(tuple(code_cells(path))))


@functools.cache
def claims_of(cells):
    found, wrappers = {}, {}
    for i, source in enumerate(cells):
        for claim, _ in claims(source, wrappers):
            number, name = 1, claim
            while name in found:
                number += 1
                name = f"{claim} ({number})"
            found[name] = i
    return found


# ---- the entries ----


def entry_file(path, folder=ENTRIES):
    return folder / path.parent.name / f"{path.stem}.toml"


def entries(path, folder=ENTRIES):
    file = entry_file(path, folder)
    return toml(file.read_text(encoding="utf8")) if file.exists() else {}


toml = functools.cache(tomllib.loads)


def problems(path, folder=ENTRIES, root=ROOT):
    """What is wrong with the entries of a notebook: a list of sentences."""
    known, checks, cells, found = entries(path, folder), all_claims(path), code_cells(path), []
    found += [f"no entry: {claim}" for claim in checks if claim not in known]
    found += [f"no such check: {claim}" for claim in known if claim not in checks]
    for claim, entry in known.items():
        if claim not in checks:
            continue
        if not entry.keys() <= KEYS or not entry.get("wrong") or ("old" in entry) != ("new" in entry):
            found.append(f"an entry has the keys {sorted(KEYS)}, old with new, and says what is wrong: {claim}")
        elif "old" in entry and place(entry, cells[: checks[claim] + 1], root) is None:
            found.append(f"`old` is not exactly once in the code up to the check: {claim}")
    return found


def place(entry, cells, root=ROOT):
    """Where the code of an entry stands: the index of a cell, or -1 for a module; None if not exactly once."""
    if "file" in entry:
        file = root / entry["file"]
        return -1 if file.is_file() and file.read_text(encoding="utf8").count(entry["old"]) == 1 else None
    counts = [cell.count(entry["old"]) for cell in cells]
    return counts.index(1) if sum(counts) == 1 else None


def digest(path, claim, root=ROOT, folder=ENTRIES):
    """Of an entry, of the cell of its check and of the code that it changes; None without code to change.

    Of an entry without a check, or whose code is not there (``problems`` says so), it is "stale".
    """
    entry, checks, cells = entries(path, folder)[claim], all_claims(path), code_cells(path)
    if "old" not in entry:
        return None
    where = place(entry, cells[: checks[claim] + 1], root) if claim in checks else None
    if where is None:
        return "stale"
    changed = (root / entry["file"]).read_text(encoding="utf8") if where == -1 else cells[where]
    parts = [
        {k: v for k, v in entry.items() if k not in ("wrong", "kind", "minutes", "tried")},
        cells[checks[claim]],
        changed,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def seen(file=SEEN):
    return json.loads(file.read_text(encoding="utf8")) if file.exists() else {}


def untried(path, folder=ENTRIES, root=ROOT, file=SEEN):
    """Claims whose entry has code to change and was not seen to fail as it is now."""
    record = seen(file).get(name_of(path, root), {})
    with_code = {claim: digest(path, claim, root, folder) for claim in entries(path, folder)}
    return [claim for claim, value in with_code.items() if value and record.get(claim, {}).get("digest") != value]


def name_of(path, root=ROOT):
    return path.resolve().relative_to(root).as_posix()


# ---- trying them ----


class Decided(BaseException):
    """The check that is looked for was reached; it holds the outcome."""


def bound_names(tree):
    """Names that a cell gives a value to, or changes in place."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(a.asname or a.name).split(".")[0] for a in node.names}
        elif isinstance(node, (ast.Subscript, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            found |= {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            while isinstance(owner, (ast.Attribute, ast.Subscript)):
                owner = owner.value
            found |= {owner.id} if isinstance(owner, ast.Name) else set()
    return found


def used_names(tree):
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}


def needed(cells, last):
    """Indices of the cells up to ``last`` that its code depends on, ``last`` included."""
    trees = [ast.parse(re.sub(r"(?m)^%.*$", "", cell)) for cell in cells[: last + 1]]
    wanted, keep = used_names(trees[last]), [last]
    for i in range(last - 1, -1, -1):
        if bound_names(trees[i]) & wanted:
            keep.insert(0, i)
            wanted |= used_names(trees[i])
    return keep


def change_module(file, old, new, root=ROOT):
    """Put new code into the functions of a loaded module, whoever has imported them."""
    name = ".".join(Path(file).with_suffix("").parts)
    module = sys.modules[name] if name in sys.modules else importlib.import_module(name)
    text = (root / file).read_text(encoding="utf8").replace(old, new)
    fresh = types.ModuleType(name)
    fresh.__dict__.update({"__file__": str(root / file), "__package__": name.rpartition(".")[0]})
    exec(compile(text, str(root / file), "exec"), fresh.__dict__)
    swap(module.__dict__, fresh.__dict__)


def swap(here, there):
    for key, value in there.items():
        known = here.get(key)
        if isinstance(value, types.FunctionType) and isinstance(known, types.FunctionType):
            if value.__module__ == known.__module__ and value.__code__.co_freevars == known.__code__.co_freevars:
                known.__code__, known.__defaults__ = value.__code__, value.__defaults__
                known.__kwdefaults__ = value.__kwdefaults__
        elif isinstance(value, type) and isinstance(known, type) and value.__module__ == known.__module__:
            swap(known.__dict__, value.__dict__)
        elif isinstance(here, dict) and isinstance(value, (int, float, tuple)) and not key.startswith("__"):
            here[key] = value


def child(work):
    """Run work() in a fork; (what it returned as text, seconds)."""
    start, (read, write) = time.perf_counter(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        try:
            said = work()
        except BaseException as error:
            said = f"stopped: {type(error).__name__}: {error}"
        os.write(write, said.encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said, time.perf_counter() - start


class Notebook:
    """Runs the cells of a notebook in this process, without IPython."""

    def __init__(self, path):
        import matplotlib
        import matplotlib.pyplot as plt  # once, before anything forks

        matplotlib.use("Agg")
        self.close_figures = lambda: plt.close("all")
        self.path, self.cells = path, code_cells(path)
        self.names = {"__name__": "__main__", "display": lambda *_: None}
        self.position = {}  # (claim's cell, line) -> claim
        numbers, wrappers = {}, {}
        for i, source in enumerate(self.cells):
            for claim, line in claims(source, wrappers):
                numbers[claim] = numbers.get(claim, 0) + 1
                name = claim if numbers[claim] == 1 else f"{claim} ({numbers[claim]})"
                self.position[i, line] = name
        self.target, self.starts = None, {}

    def check(self, claim, holds, *, of=None):
        from dgm_helpers.notebook.checks import _truth

        holds = _truth(holds)
        frame = sys._getframe(1)
        while frame:  # through a function that checks for its caller
            named = re.fullmatch(r"<cell (\d+)>", frame.f_code.co_filename)
            if named and self.position.get((int(named[1]), self.line(frame))) == self.target and not holds:
                raise Decided("failed")
            frame = frame.f_back
        return holds

    def line(self, frame):
        """The line at which the call that a frame is in begins."""
        lines = [n for n in self.starts.get(frame.f_code.co_filename, {}).get(frame.f_lineno, [frame.f_lineno])]
        return lines[0]

    def run(self, i, source=None):
        source = self.cells[i] if source is None else source
        tree = ast.parse(source)
        name = f"<cell {i}>"
        of_lines = self.starts[name] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                for line in range(node.lineno, node.end_lineno + 1):
                    of_lines.setdefault(line, [node.lineno])
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
            exec(compile(tree, name, "exec"), self.names)
        if "check" in self.names:
            self.names["check"] = self.check
        self.close_figures()

    def outcome(self, claim, last, entry, where, keep):
        """In a child: change the code, run the cells ``keep``, say what became of the check."""
        self.target = claim
        if where == -1 and entry:
            change_module(entry["file"], entry["old"], entry["new"])
        try:
            for i in keep:
                source = self.cells[i]
                self.run(i, source.replace(entry["old"], entry["new"]) if entry and i == where else source)
        except Decided as decided:
            return str(decided)
        return "held"


def try_entries(path, wanted, root=ROOT, folder=ENTRIES, say=print, note=lambda claim, result: None):
    """Try the entries of these claims; {claim: (outcome, seconds)}. note: told of each as soon as it is known."""
    checks, known = all_claims(path), entries(path, folder)
    notebook, results = Notebook(path), {}
    cells = notebook.cells
    first = next((i for i, c in enumerate(cells) if i > 0 and not only_imports(c)), 1)
    jobs = {}
    for claim in wanted:
        where = place(known[claim], cells[: checks[claim] + 1], root) if claim in checks else None
        if where is None:
            results[claim] = "stale: its check or its code is not there", 0.0
            continue
        jobs.setdefault(first if where == -1 else where, []).append((claim, where))
    for i in range(max(jobs) + 1 if jobs else 0):
        for claim, where in jobs.get(i, []):
            last, entry = checks[claim], known[claim]
            keep = [k for k in needed(cells, last) if k >= i]
            entry = entry | {} if where != -1 else entry
            said, seconds = child(lambda: notebook.outcome(claim, last, entry, where, keep))  # noqa: B023
            if said == "failed":
                control, _ = child(lambda: notebook.outcome(claim, last, None, None, keep))  # noqa: B023
                said = "failed" if control == "held" else f"without the change it {control}"
            results[claim] = said, seconds
            say(f"{seconds:6.1f} s  {said[:90]:<8} {claim}", flush=True)
            note(claim, results[claim])
        if i < max(jobs):
            notebook.run(i)
    return results


def only_imports(source):
    return all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(source).body)


def record(path, results, file=SEEN, root=ROOT):
    """Note the checks that were seen to fail; drop what is no longer there."""
    noted, checks = seen(file), entries(path)
    mine = {claim: value for claim, value in noted.get(name_of(path, root), {}).items() if claim in checks}
    for claim, (said, seconds) in results.items():
        mine.pop(claim, None)
        if said == "failed":
            mine[claim] = {"digest": digest(path, claim, root), "seconds": round(seconds, 1)}
    noted[name_of(path, root)] = dict(sorted(mine.items()))
    file.write_text(json.dumps(dict(sorted(noted.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf8")


def mark_tried(path, wanted, folder=ENTRIES):
    """Take ``tried = false`` away from the entries of these claims."""
    file, kept, inside = entry_file(path, folder), [], False
    for line in file.read_text(encoding="utf8").splitlines(keepends=True):
        if line.startswith("["):
            inside = tomllib.loads(line).keys() <= set(wanted)
        if not (inside and line.startswith("tried")):
            kept.append(line)
    file.write_text("".join(kept), encoding="utf8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--run", action="store_true", help="try the entries that have not been tried as they are")
    parser.add_argument("--claim", action="append", help="try the claims that hold these words")
    parser.add_argument("--long", action="store_true", help="also those that take longer than a minute")
    arguments = parser.parse_args()
    paths, bad = arguments.notebooks or sorted((ROOT / "notebooks").glob("*/*.ipynb")), 0
    for path in paths:
        found = problems(path)
        bad += len(found)
        print(*(f"{path.stem}: {line}" for line in found), sep="\n", end="\n" if found else "")
        if not arguments.run or found:
            continue
        known = entries(path)
        wanted = [c for c in known if "old" in known[c] and any(w in c for w in arguments.claim)] if arguments.claim \
            else untried(path)  # fmt: skip
        wanted = [c for c in wanted if arguments.long or "minutes" not in known[c]]
        print(f"{path}: {len(wanted)} of {len(known)}")

        def note(claim, result, path=path):
            record(path, {claim: result})
            mark_tried(path, [claim] if result[0] == "failed" else [])

        results = try_entries(path, wanted, note=note) if wanted else {}
        bad += sum(said != "failed" for said, _ in results.values())
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
