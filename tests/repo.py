"""Where things are, and what the table of contents lists; shared by the tests of the repository and of the site."""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"


def toc_pages(toc=None):
    """Every page that ``_toc.yml`` lists, root first, as paths without suffix."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text()) if toc is None else toc
    found = [toc[key] for key in ("root", "file") if key in toc]
    for children in ("parts", "chapters", "sections"):
        for child in toc.get(children, ()):
            found += toc_pages(child)
    return found


def notebooks():
    """Every notebook under ``notebooks/``, collected by directory."""
    return sorted(p for p in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def toc_chapters():
    """{page: its number, or None} of every page that ``_toc.yml`` lists, in its order; a page below another has that
    one's number."""
    toc, number = yaml.safe_load((ROOT / "_toc.yml").read_text()), 0
    found = {toc["root"]: None}
    for part in toc["parts"]:
        for page in part["chapters"]:
            number += bool(part.get("numbered"))
            found |= dict.fromkeys(toc_pages(page), number if part.get("numbered") else None)
    return found
