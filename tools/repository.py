"""Write the repository's address into every place that needs it.

    python tools/repository.py https://github.com/ORG/REPO      (or: make repository URL=...)
    python tools/repository.py                                  says which files differ from the setting

The setting is ``repository: url:`` in _config.yml. It is empty until the book has a public address; then the site shows
no launch buttons, and a notebook opened without the helpers says what to do instead of fetching them.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BRANCH = "main"
FIRST_NOTEBOOK = "notebooks/vae/vae_2d.ipynb"  # that the badges of the README open
ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
SETUP = """import os
from importlib import import_module, util

REPOSITORY = "{url}"
if util.find_spec("dgm_helpers") is None:  # on Colab: fetch the book with its weights
    if os.system(f"git clone --depth=1 '{{REPOSITORY}}' book && ln -s book/dgm_helpers"):
        raise SystemExit("Helpers are missing: clone the book and `pip install -e` it.")
    import_module("dgm_helpers.notebook.colab").install_missing()"""


def setting(root=ROOT):
    """The address in _config.yml, "" if there is none yet."""
    found = re.search(r'^repository:\n  url: "(.*)"', (root / "_config.yml").read_text(encoding="utf8"), re.MULTILINE)
    if found is None:
        raise ValueError('expected _config.yml to hold the lines `repository:` and `  url: "..."`')
    return found.group(1)


def checked(url):
    """The address without what people paste with it. Raises ValueError if it is not a repository on GitHub."""
    url = url.strip().rstrip("/").removesuffix(".git")
    if url and not ADDRESS.fullmatch(url):
        raise ValueError(f"expected https://github.com/ORG/REPO, got {url!r}")
    return url


def between(text, name, content):
    """Replace what stands between two marks, each on a line of its own."""
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(f"({re.escape(first)}\n).*?({re.escape(last)})", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"expected the lines {first} and {last}")
    return pattern.sub(lambda m: m.group(1) + content + m.group(2), text)


def badges(url):
    if not url:
        return ""
    path = url.removeprefix("https://github.com/")
    binder = f"https://mybinder.org/v2/gh/{path}/{BRANCH}?urlpath=lab/tree/{FIRST_NOTEBOOK}"
    colab = f"https://colab.research.google.com/github/{path}/blob/{BRANCH}/{FIRST_NOTEBOOK}"
    return (
        f"[![Launch on Binder](https://mybinder.org/badge_logo.svg)]({binder})\n"
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})\n\n"
    )


def clone(url):
    """The shell lines that fetch the book, for the block of commands that begins with ``make book``."""
    return f"git clone {url}\ncd {url.rsplit('/', 1)[-1]}\n" if url else ""


def with_clone(text, url):
    """A page's text with those lines, and no older ones, before the first ``make book`` of a block."""
    bare = re.sub(r"```bash\ngit clone .*\ncd .*\n", "```bash\n", text)
    if "```bash\nmake book" not in bare:
        raise ValueError("expected a block of commands that begins with `make book`")
    return bare.replace("```bash\nmake book", f"```bash\n{clone(url)}make book", 1)


def is_set_up(source):
    """Whether this is the set-up cell, with whatever address."""
    before, after = SETUP.format(url="\0").split("\0")
    return re.fullmatch(re.escape(before) + '[^"\n]*' + re.escape(after), source) is not None


def set_up_cell(text, url):
    """A notebook's text with the address written into its first code cell, which is the set-up and nothing else."""
    notebook = json.loads(text)
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    if not is_set_up("".join(cell["source"])):
        raise ValueError("expected the first code cell to be the set-up cell of the other notebooks, and no more")
    cell["source"] = SETUP.format(url=url).splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def rewritten(url, root=ROOT):
    """{path: text} of every file that names the address, as it should be."""

    def read(path):
        return (root / path).read_text(encoding="utf8")

    config = re.sub(r'(^repository:\n  url: ").*(")', rf"\g<1>{url}\g<2>", read("_config.yml"), flags=re.MULTILINE)
    files = {"_config.yml": config}
    citation = re.sub(r"^(repository-code|url): .*\n", "", read("CITATION.cff"), flags=re.MULTILINE)
    files["CITATION.cff"] = citation + (f"repository-code: {url}\n" if url else "")
    project = re.sub(r"\n\[project\.urls\]\nRepository = .*\n", "", read("pyproject.toml"))
    urls = f'\n[project.urls]\nRepository = "{url}"\n' if url else ""
    files["pyproject.toml"] = project.replace("\n[tool.setuptools]", f"{urls}\n[tool.setuptools]", 1)
    readme = between(read("README.md"), "launch", badges(url))
    files["README.md"] = with_clone(readme, url)
    files["book/running.md"] = with_clone(read("book/running.md"), url)
    for path in sorted((root / "notebooks").glob("*/*.ipynb")):
        name = str(path.relative_to(root))
        try:
            files[name] = set_up_cell(read(name), url)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return files


def main():
    try:
        url = checked(sys.argv[1]) if len(sys.argv) > 1 else setting()
        files = rewritten(url)
    except ValueError as error:
        sys.exit(f"repository: {error}")
    differ = [path for path, text in files.items() if (ROOT / path).read_text(encoding="utf8") != text]
    if len(sys.argv) > 1:
        for path in differ:
            (ROOT / path).write_text(files[path], encoding="utf8")
        print(f"{url or 'no address'}: {len(differ)} of {len(files)} files changed")
    else:
        print("\n".join(differ) or f"all {len(files)} files agree with {url or 'no address'}")
        sys.exit(bool(differ))


if __name__ == "__main__":
    main()
