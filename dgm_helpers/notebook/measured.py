"""The numbers behind a claim: what a failing check prints, and what the book's own run gave."""

import ast
import json
import linecache
import os
from pathlib import Path

import torch

from dgm_helpers.notebook.tables import Estimate

BOOK = Path(__file__).resolve().parents[2] / "notebooks" / "checks.json"  # written by tools/execute.py
PURE = {"abs", "max", "min", "float", "int", "len", "sum", "gap"}  # functions without side effects
METHODS = {"abs", "mean", "sum", "min", "max", "std", "diff", "square", "sqrt", "exp", "log", "item", "norm", "float"}
PLAIN = (
    ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.BinOp, ast.UnaryOp, ast.Call, ast.Slice, ast.Tuple,
    ast.operator, ast.unaryop, ast.expr_context,
)  # fmt: skip


def call_site(frame):
    """The syntax tree of the cell that calls, and the call in it. (None, None) where there is no source."""
    lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals)
    first, last, left, right = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:  # the source has changed since
        return None, None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            place = node.lineno, node.end_lineno, node.col_offset, node.end_col_offset
            if place == (first, last, left, right):
                return tree, node
    return None, None


def claimed(tree, call):
    """The expression that a call checks; of a name that the cell sets, what it was set to."""
    holds = call.args[1] if len(call.args) > 1 else next((k.value for k in call.keywords if k.arg == "holds"), None)
    found = holds
    if isinstance(holds, ast.Name):
        for node in ast.walk(tree):
            sets = [getattr(t, "id", None) for t in node.targets] if isinstance(node, ast.Assign) else []
            if sets == [holds.id] and node.lineno < call.lineno:
                found = node.value  # the last one counts
    return found


def harmless(node):
    """Whether an expression can be computed again without changing anything: plain arithmetic of what is there."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call):
            f = part.func
            if not (f.id in PURE if isinstance(f, ast.Name) else isinstance(f, ast.Attribute) and f.attr in METHODS):
                return False
        if not isinstance(part, PLAIN):
            return False
    return True


def shown(value):
    """A number, or the range of many; "" for what holds none."""
    if isinstance(value, (bool, str)):
        return ""
    if isinstance(value, Estimate):
        return str(value)
    try:
        numbers = torch.as_tensor(value, dtype=torch.float64).flatten()
    except (TypeError, ValueError, RuntimeError):
        return ""
    if len(numbers) == 1:
        return f"{float(numbers):.4g}"
    return f"{float(numbers.min()):.4g} to {float(numbers.max()):.4g}" if len(numbers) else ""


def measured(frame):
    """{expression: its value, as text} of both sides of every comparison in the claim that a call in frame checks."""
    tree, call = call_site(frame)
    holds, found = claimed(tree, call) if call else None, {}
    for node in ast.walk(holds) if holds else ():
        for side in [node.left, *node.comparators] if isinstance(node, ast.Compare) else ():
            if not isinstance(side, ast.Constant) and harmless(side):
                try:
                    code = compile(ast.Expression(side), "<claim>", "eval")
                    value = shown(eval(code, frame.f_globals, dict(frame.f_locals)))
                except Exception:  # a name of a comprehension, say: there is nothing to show
                    value = ""
                if value:
                    found[ast.unparse(side)] = value
    return found


def in_words(values):
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def capitals(namespace):
    """A notebook's settings: the numbers under names in capitals, as text."""
    found = {}
    for name, value in namespace.items():
        if name.isupper() and name != "TRAIN":
            value = value.tolist() if isinstance(value, torch.Tensor) and value.numel() < 100 else value
            if isinstance(value, (int, float, tuple, list, range, dict)):
                found[name] = repr(value) if len(repr(value)) < 200 else ""
    return found


def note(claim, frame):
    """While tools/execute.py makes the book's outputs: keep the numbers of a claim about the book's run."""
    if log := os.environ.get("DGM_CHECKS"):
        entry = {"claim": claim, "measured": measured(frame), "settings": capitals(frame.f_globals)}
        with open(log, "a", encoding="utf8") as file:
            file.write(json.dumps(entry) + "\n")


def books(claim):
    """What was kept of a claim in the book's run: {"measured": ..., "settings": ...}; empty if nothing was."""
    if not BOOK.exists():
        return {}
    notebooks = json.loads(BOOK.read_text(encoding="utf8")).values()
    return next(
        (
            {"measured": claims["claims"][claim], "settings": claims["settings"]}
            for claims in notebooks
            if claim in claims["claims"]
        ),
        {},
    )
