"""The reference of the package, from the signatures and docstrings of its source; nothing is imported.

(autodoc imports torch, even where it is told to imitate it, and the site is built without; sphinx-autoapi confuses
defaults, and shows what a module imports as its own.)
"""

import ast
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def defined(body):
    """What the statements of a module define: {name: statement}; of an assignment to several names, one each."""
    found = {}
    for node in body:
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            pairs = zip(target.elts, value.elts, strict=True) if isinstance(target, ast.Tuple) else [(target, value)]
            found |= {ast.unparse(to): ast.Assign([to], what, lineno=node.lineno) for to, what in pairs}
        elif hasattr(node, "name"):
            found[node.name] = node
    return found


def signature(node):
    """Arguments as in the source, without annotations; of a class those of ``__init__``, or its fields."""
    if isinstance(node, ast.ClassDef):
        body = {part.name: part for part in node.body if isinstance(part, FUNCTION)}
        if "__init__" not in body:
            fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            return ", ".join(f"{f.target.id}={ast.unparse(f.value)}" if f.value else f.target.id for f in fields)
        node = body["__init__"]
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    for argument in filter(None, every):
        argument.annotation = None
    first = arguments.posonlyargs or arguments.args
    if first and first[0].arg in ("self", "cls"):
        first.pop(0)
    return ast.unparse(arguments)


def entry(name, node, text, indent=""):
    """Lines of reStructuredText: a description of what is defined, and of the methods of a class."""
    if isinstance(node, ast.Assign):
        said = text.splitlines()[node.lineno - 1].partition("  # ")[2]
        value = ast.unparse(node.value) if isinstance(node.value, ast.Call | ast.Constant | ast.List) else ""
        return [f".. py:data:: {name}", *[f"   :value: {value}"] * bool(value), "", f"   {said}", ""]
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    kind = "class" if isinstance(node, ast.ClassDef) else "method" if indent else "function"
    if decorators & {"property", "cached_property"}:
        lines = [f".. py:property:: {name}"]
    else:
        lines = [f".. py:{kind}:: {name}({signature(node)})"]
        lines += [f"   :{which}:" for which in ("classmethod", "staticmethod") if which in decorators]
    lines += ["", *(f"   {line}" for line in (ast.get_docstring(node) or "").splitlines()), ""]
    for method in node.body if kind == "class" else ():
        if isinstance(method, FUNCTION) and method.name[0] != "_" and ast.get_docstring(method):
            lines += entry(method.name, method, text, "   ")
    return [indent + line for line in lines]


class Reference(SphinxDirective):
    """The argument is a package or module; without content, what it says of itself, else the names in the content.

    A name that is a module stands for all its public functions and classes.
    """

    required_arguments = 1
    has_content = True

    def run(self):
        package = self.arguments[0]
        lines = [f".. py:currentmodule:: {package}", ""] if self.content else self.module(package, members=False)
        try:
            for name in filter(None, map(str.strip, self.content)):
                lines += self.look_up(package, name)
        except LookupError as problem:
            raise self.error(f"reference: {package} has no {problem}") from None
        return self.parse_text_to_nodes("\n".join(["````{eval-rst}", *lines, "````"]))

    def source(self, module):
        path = Path(self.env.srcdir, *module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        self.env.note_dependency(str(path))
        text = path.read_text(encoding="utf8")
        return ast.parse(text), text

    def module(self, name, members=True):
        tree, text = self.source(name)
        lines = [f".. py:module:: {name}", "", *ast.get_docstring(tree).splitlines(), ""]
        for what, node in defined(tree.body).items() if members else ():
            if what[0] != "_" and not isinstance(node, ast.Assign):
                lines += entry(what, node, text)
        return lines

    def look_up(self, package, name):
        imports = [node for node in self.source(package)[0].body if isinstance(node, ast.ImportFrom)]
        home = {alias.name: node.module for node in imports for alias in node.names}[name]
        if home == package:
            return [*self.module(f"{package}.{name}"), f".. py:currentmodule:: {package}", ""]
        tree, text = self.source(home)
        return entry(name, defined(tree.body)[name], text)


def setup(app):
    app.add_directive("reference", Reference)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
