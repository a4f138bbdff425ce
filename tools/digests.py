"""What a notebook's stored outputs depend on: its code, the modules that it imports, the weights that it loaded.

    python tools/digests.py        says which notebooks' outputs are older than what they depend on

The digests lie in notebooks/digests.json. Only an execution writes them (tools/execute.py). They ignore comments and
docstrings, and depend on nothing but the content: not on the version of Python, nor on the order of a dict.
"""

import ast
import functools
import hashlib
import io
import json
import sys
import tokenize
from pathlib import Path

import repository

ROOT = Path(__file__).resolve().parent.parent
DIGESTS = ROOT / "notebooks" / "digests.json"
PACKAGE = "dgm_helpers"
IMPORTS = (ast.Import, ast.ImportFrom)
parse = functools.cache(ast.parse)


def digest(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


# ---- code without comments and docstrings ----


def is_text(node):
    """A string that stands alone as a statement: a docstring, or as good as a comment."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def plain(node):
    """A syntax tree as lists and dicts. ``ast.dump`` shows the same code differently in Python 3.11, 3.12 and 3.13."""
    if isinstance(node, list):
        return [plain(child) for child in node if not is_text(child)]
    if isinstance(node, ast.JoinedStr):  # Python 3.12 puts empty strings between an f-string's parts
        return [plain(part) for part in node.values if getattr(part, "value", None) != ""]
    if isinstance(node, ast.Constant):
        return [type(node.value).__name__, ascii(node.value)]
    if not isinstance(node, ast.AST):
        return node
    fields = {name: plain(value) for name, value in ast.iter_fields(node) if value not in (None, [])}
    dropped = ("ctx", "kind", "type_comment")
    return [type(node).__name__, {name: value for name, value in fields.items() if name not in dropped}]


def silent(source):
    """Whether a cell ends with a semicolon, so that it does not show its last value."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    shown = [t.string for t in tokens if t.type != tokenize.COMMENT and t.string.strip()]
    return shown[-1:] == [";"]


def code_cells(path):
    """The sources of a notebook's code cells, without the set-up cell, which holds the repository's address."""
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [source for source in sources if not repository.is_set_up(source)]


def code_digest(path):
    """Of a notebook's code cells. A string that a cell shows as its last value is no docstring."""
    cells = [[plain(statement) for statement in parse(source).body] for source in code_cells(path)]
    return digest([[cell, silent(source)] for cell, source in zip(cells, code_cells(path), strict=True)])


# ---- the modules that a notebook imports ----


@functools.cache
def imports(tree):
    return [node for node in ast.walk(tree) if isinstance(node, IMPORTS)]


@functools.cache
def body_digest(statements):
    return digest(plain(list(statements)))


def imported(trees, package=""):
    """(module, name, its name here) of every import in syntax trees, in functions too; for ``import module`` the first
    name is None. package: what a relative import starts from."""
    for node in (node for tree in trees for node in imports(tree)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, alias.asname) for alias in node.names)
        else:
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield from ((module, alias.name, alias.asname or alias.name) for alias in node.names)


class Modules:
    """The modules of our package under ``root``."""

    def __init__(self, root=ROOT):
        self.root = root

    def tree(self, path):
        return parse(path.read_text(encoding="utf8"))

    def path(self, module):
        """Its file, or None for a module that is not ours."""
        if module.split(".")[0] != PACKAGE:
            return None
        folder = self.root.joinpath(*module.split("."))
        return next((p for p in (folder / "__init__.py", folder.with_suffix(".py")) if p.exists()), None)

    def body(self, path):
        """The statements that count: of an ``__init__`` those that are more than a list of names."""
        body = [node for node in self.tree(path).body if not is_text(node)]
        if path.name != "__init__.py":
            return body
        listing = [n for n in body if isinstance(n, ast.Assign) and ast.unparse(n.targets) == "__all__"]
        return [node for node in body if not isinstance(node, IMPORTS) and node not in listing]

    def defining(self, module, name):
        """The modules to read for ``from module import name``, or for all of a module (name None or "*")."""
        path = self.path(module)
        if path is None:
            return
        if path.name == "__init__.py":
            exports = imported([node for node in self.tree(path).body if isinstance(node, IMPORTS)], module)
            from_here = [(m, n) for m, n, here in exports if name in (None, "*", here) and (m, n) != (module, name)]
            if from_here or name in (None, "*"):
                for found in from_here:
                    yield from self.defining(*found)
            elif self.path(f"{module}.{name}"):
                yield from self.defining(f"{module}.{name}", None)
        yield module

    def used_by(self, trees):
        """{path: digest} of all modules that syntax trees import, and that these import in turn."""
        found, waiting = {}, [m for module, name, _ in imported(trees) for m in self.defining(module, name)]
        while waiting:
            module = waiting.pop()
            path = self.path(module)
            if path is None or path in found:
                continue
            found[path] = self.body(path)
            if found[path]:
                package = module if path.name == "__init__.py" else module.rpartition(".")[0]
                pairs = imported([self.tree(path)], package)
                waiting += [m for other, name, _ in pairs for m in self.defining(other, name)]
            waiting.append(module.rpartition(".")[0])  # the package around it runs first
        digests = {
            path.relative_to(self.root).as_posix(): body_digest(tuple(body)) for path, body in found.items() if body
        }
        return dict(sorted(digests.items()))


# ---- the weights that it loaded ----


def header(file):
    """(tensors, notes) at the start of an open safetensors file, which is then at the tensors' values."""
    tensors = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return tensors, tensors.pop("__metadata__", {})


def history(path):
    """What is noted of the training beside the weights, {} if nothing."""
    with open(path, "rb") as file:
        return json.loads(header(file)[1].get("history", "null")) or {}


@functools.cache
def weights_digest(path):
    """Of the tensors of a safetensors file, by name, and of the history beside them; its other notes do not count."""
    with open(path, "rb") as file:
        tensors, notes = header(file)
        start = file.tell()
        whole = hashlib.sha256(json.dumps(json.loads(notes.get("history", "null")), sort_keys=True).encode())
        for name, tensor in sorted(tensors.items()):
            first, last = tensor["data_offsets"]
            file.seek(start + first)
            whole.update(json.dumps([name, tensor["dtype"], tensor["shape"]]).encode() + file.read(last - first))
    return whole.hexdigest()[:16]


def loaded_weights(log, folder):
    """{name: digest} of the files whose paths a notebook wrote to ``log``.

    Raises ValueError for one outside ``folder``: the outputs would be those of another run than the book's.
    """
    paths = {Path(line).resolve() for line in log.read_text(encoding="utf8").splitlines()}
    for path in sorted(paths):
        if path.parent != folder.resolve():
            raise ValueError(f"{path} is not one of the book's weights; `make retrain NOTEBOOKS=...` makes it one")
    return {path.name: weights_digest(path) for path in sorted(paths)}


# ---- all of it ----


def sources(path, root=ROOT):
    """{"code": ..., "modules": {path: ...}} of a notebook as it is."""
    return {"code": code_digest(path), "modules": Modules(root).used_by(map(parse, code_cells(path)))}


def stale(path, entry, root=ROOT):
    """What has changed since a notebook's execution, when ``entry`` was stored: a list, empty if nothing."""
    now = sources(path, root)
    files = {name: root / "weights" / name for name in entry["weights"]}
    now["weights"] = {name: weights_digest(file) for name, file in files.items() if file.exists()}
    changed = ["its code cells"] if now["code"] != entry["code"] else []
    for part, folder in (("modules", ""), ("weights", "weights/")):
        old, new = entry[part], now[part]
        for name in sorted(old.keys() | new.keys()):
            if name not in new:
                changed.append(f"{folder}{name} (no longer there, or no longer used)")
            elif name not in old:
                changed.append(f"{folder}{name} (not used then)")
            elif old[name] != new[name]:
                changed.append(f"{folder}{name}")
    return changed


def read(path=DIGESTS):
    return json.loads(path.read_text(encoding="utf8")) if path.exists() else {}


def main():
    entries, found = read(), False
    for path in sorted((ROOT / "notebooks").glob("*/*.ipynb")):
        name = path.relative_to(ROOT).as_posix()
        changed = stale(path, entries[name]) if name in entries else ["never executed"]
        if changed:
            found = True
            print(f"{name}: {', '.join(changed)}")
    sys.exit(found)


if __name__ == "__main__":
    main()
