"""The branch ``launch``, which Binder and Colab open: the current commit, with the book's address in the notebooks.

    python tools/launch_branch.py            write the address into the notebooks and the README of this checkout
    python tools/launch_branch.py --push     also push them, as one commit on top of the current one, to ``launch``

The Pages workflow does this by itself. The branch is overwritten each time. The current branch and the index stay as
they are, and the same commit gives the same branch again, so that Binder does not build its image anew.
"""

import os
import re
import subprocess
import sys
import tempfile

from repository import BRANCH, ROOT, address, set_up_cell

FIRST_NOTEBOOK = "notebooks/vae/vae_2d.ipynb"  # that the badges of the README open
BOT = {"NAME": "github-actions[bot]", "EMAIL": "41898282+github-actions[bot]@users.noreply.github.com"}


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


def with_badges(text, url):
    """The README's text with the badges at their place, and no others there."""
    place = re.compile(r"(<!-- launch -->\n).*?(<!-- /launch -->)", re.DOTALL)
    if not place.search(text):
        raise ValueError("expected README.md to hold the lines <!-- launch --> and <!-- /launch -->")
    return place.sub(lambda m: m[1] + badges(url) + m[2], text)


def rewritten(url, root=ROOT):
    """{path: text} of every file that names the address on ``launch``."""
    files = {"README.md": with_badges((root / "README.md").read_text(encoding="utf8"), url)}
    for path in sorted((root / "notebooks").glob("*/*.ipynb")):
        name = path.relative_to(root).as_posix()
        try:
            files[name] = set_up_cell(path.read_text(encoding="utf8"), url)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return files


def push(names, url, root=ROOT):
    """Push the current commit with these files of the working tree on top; return the new commit."""

    def git(*command, **variables):
        command = ["git", "-C", str(root), *command]
        return subprocess.run(command, env=os.environ | variables, check=True, stdout=-1, text=True).stdout.strip()

    person = {f"GIT_{role}_{part}": BOT[part] for role in ("AUTHOR", "COMMITTER") for part in BOT}
    date = git("show", "--no-patch", "--format=%cI", "HEAD")
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": os.path.join(folder, "index")}
        git("read-tree", "HEAD", **index)
        git("add", "--", *names, **index)
        tree = git("write-tree", **index)
    message = f"The notebooks know where the book is: {url}"
    dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    commit = git("commit-tree", tree, "-p", "HEAD", "-m", message, **person, **dates)
    git("push", "--quiet", "--force", "origin", f"{commit}:refs/heads/{BRANCH}")
    return commit


def main():
    url = address()
    if not url:
        sys.exit("launch_branch: neither GITHUB_REPOSITORY nor the remote `origin` is a repository on github.com")
    files = rewritten(url)
    for name, text in files.items():
        (ROOT / name).write_text(text, encoding="utf8")
    print(f"{len(files)} files hold {url}")
    if sys.argv[1:] == ["--push"]:
        print(f"{BRANCH} is {push(files, url)}")


if __name__ == "__main__":
    main()
