"""What is said about the book and its pages: cards, sitemap, dates, a page for wrong addresses, the package's names."""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import dgm_metadata
import dgm_reference
import pytest
from PIL import Image
from repo import ROOT, SITE
from sphinx.errors import ExtensionError
from sphinx.util.inventory import InventoryFile

pytestmark = pytest.mark.site
ADDRESS = "https://org.github.io/Book/"
PACKAGES = sorted(path.parent.name for path in (ROOT / "dgm_helpers").glob("*/__init__.py"))
TWO_PAGES = {
    "_toc.yml": "format: jb-book\nroot: book/index\nchapters:\n  - file: book/flows/two\n",
    "book/index.md": "# One\n\nA page of a book of two pages; this first sentence of it is its description: $x$.\n",
    "book/flows/two.md": "# Two\n\nAnother page of this book, of which nothing but its metadata is of any interest.\n",
}


def git(folder, *words):
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *author, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module", params=["with an address", "without"])
def small(request, tmp_path_factory):
    """(source, built site, whether it has an address) of a book of two pages, with the book's own configuration."""
    source, known = tmp_path_factory.mktemp("book"), request.param == "with an address"
    for folder in ("_ext", "_static", "_templates", "images"):
        shutil.copytree(ROOT / "book" / folder, source / "book" / folder)
    shutil.copy(ROOT / "book" / "references.bib", source / "book")
    for folder in ("tools", "weights", "dgm_helpers"):  # for the play pages, which every build writes
        (source / folder).symlink_to(ROOT / folder)
    for name, text in TWO_PAGES.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    shutil.copy(ROOT / "_config.yml", source)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    if known:
        environment["GITHUB_REPOSITORY"] = "Org/Book"
        git(source, "init", "--quiet")
        git(source, "add", "book/index.md")
        git(source, "commit", "--quiet", "--date=2020-01-02T12:00:00", "-m", "One")
        (source / "_build" / "downloads").mkdir(parents=True)
        (source / "_build" / "downloads" / "book.pdf").write_bytes(b"%PDF")
    options = ["--warningiserror", "--nitpick", "--keep-going", "--quiet"]
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, *options]
    built = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return source, source / "_build" / "html", known


def test_sitemap(small):
    _, site, known = small
    assert (site / "sitemap.xml").exists() == known
    if known:
        found = [place.text for place in ElementTree.parse(site / "sitemap.xml").iterfind("{*}url/{*}loc")]
        assert sorted(found) == [f"{ADDRESS}book/flows/two.html", f"{ADDRESS}book/index.html"]


def test_canonical_address(small):
    _, site, known = small
    page = (site / "book" / "flows" / "two.html").read_text(encoding="utf8")
    assert re.findall(r'rel="canonical" href="([^"]*)"', page) == [f"{ADDRESS}book/flows/two.html"] * known
    root = (site / "index.html").read_text(encoding="utf8")
    assert re.findall(r'rel="canonical" href="([^"]*)"', root) == [f"{ADDRESS}book/index.html"] * known


def test_cards(small):
    _, site, known = small
    page = (site / "book" / "flows" / "two.html").read_text(encoding="utf8")
    said = dict(re.findall(r'<meta property="og:([^"]*)" content="([^"]*)"', page))
    assert bool(said) == known
    if known:
        assert said["title"] == "Two"
        assert said["url"] == f"{ADDRESS}book/flows/two.html"
        assert said["description"] == re.search(r'name="description" content="([^"]*)"', page)[1]
        assert said["image"].startswith(ADDRESS)
        with Image.open(site / said["image"].removeprefix(ADDRESS)) as card:
            assert (card.format, *card.size) == ("PNG", int(said["image:width"]), int(said["image:height"]))


def test_wrong_address(small):
    """The links of the page for it lead to files from any depth."""
    _, site, known = small
    page = (site / "404.html").read_text(encoding="utf8")
    base = re.search(r'<base href="([^"]*)"', page)
    assert (base is not None) == known
    assert 'rel="canonical"' not in page
    start = urljoin(f"{ADDRESS}no/such/page.html", base[1]) if known else f"{ADDRESS}404.html"
    links = re.findall(r'(?<!<base) (?:href|src|action)="(?!https://github)([^"#?]+)[^"]*"', page)
    for link in links:
        path = urlsplit(urljoin(start, link)).path.removeprefix("/Book/")
        assert (site / path).is_file() or path == "book/assignments.html", link
    assert len(links) > 10


def test_buttons(small):
    _, site, known = small
    page = (site / "book" / "flows" / "two.html").read_text(encoding="utf8")
    assert ("https://github.com/Org/Book/edit/main/book/flows/two.md" in page) == known
    assert ("https://github.com/Org/Book/issues/new" in page) == known
    assert ('href="../../book.pdf"' in page) == known == (site / "book.pdf").exists()


def test_dates(small):
    _, site, known = small
    dates = [
        re.findall(r"Last updated on ([\d-]+)\.", (site / "book" / page).read_text(encoding="utf8"))
        for page in ("index.html", "flows/two.html")
    ]
    assert dates == [["2020-01-02"] if known else [], []]  # the second page was never committed


def test_no_date_without_history(tmp_path):
    (tmp_path / "whole").mkdir()
    for day in ("2020-01-02", "2021-01-02"):
        (tmp_path / "whole" / "page.md").write_text(day)
        git(tmp_path / "whole", "init", "--quiet")
        git(tmp_path / "whole", "add", ".")
        git(tmp_path / "whole", "commit", "--quiet", f"--date={day}T12:00:00", "-m", day)
    git(tmp_path, "clone", "--quiet", "--depth=1", (tmp_path / "whole").as_uri(), "shallow")
    (tmp_path / "none").mkdir()
    git(tmp_path / "none", "init", "--quiet")
    dates = [dgm_metadata.last_commits(tmp_path / name).get("page.md") for name in ("whole", "shallow", "none")]
    assert dates == ["2021-01-02", None, None]


def test_a_card_needs_a_description():
    with pytest.raises(ExtensionError, match="no description"):
        dgm_metadata.add_card(None, "page", "page.html", {"metatags": "", "meta": None, "title": "Page"}, object())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_listed(package):
    with (SITE / "objects.inv").open("rb") as file:
        listed = InventoryFile.load(file, "", lambda base, link: link)
    names = {name: entry for kind, found in listed.items() if kind.startswith("py:") for name, entry in found.items()}
    public = [f"dgm_helpers.{package}.{name}" for name in import_module(f"dgm_helpers.{package}").__all__]
    assert [name for name in public if name not in names] == []
    for project, _, link, _ in names.values():
        assert project == "Deep Generative Models, Solved and Checked"
        assert (SITE / link.partition("#")[0]).is_file()


def test_reference_shows_the_source(tmp_path):
    text = '''
LIMIT, LIST = 3, [1]  # what it is
class Point(Base):
    """A point."""
    x: float
    y: float = 1.0
    @classmethod
    def of(cls, values: list, *, scale=2):
        """Of values."""
    @property
    def norm(self):
        """Its norm."""
    def hidden(self):
        pass
def move(point, *steps, by: float = 1e-3, **rest):
    r"""Move it by :math:`x`."""
'''
    found = dgm_reference.defined(ast.parse(text).body)
    lines = [line for name, node in found.items() for line in dgm_reference.entry(name, node, text) if line.strip()]
    assert lines == [
        ".. py:data:: LIMIT", "   :value: 3", "   what it is", ".. py:data:: LIST", "   :value: [1]", "   what it is",
        ".. py:class:: Point(x, y=1.0)", "   A point.",
        "   .. py:method:: of(values, *, scale=2)", "      :classmethod:", "      Of values.",
        "   .. py:property:: norm", "      Its norm.",
        ".. py:function:: move(point, *steps, by=0.001, **rest)", "   Move it by :math:`x`.",
    ]  # fmt: skip


def test_arrow_keys_turn_pages_but_not_within_what_scrolls(visit):
    page, _ = visit("book/play/banana_hmc.html")
    page.locator("canvas").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert page.url.endswith("book/play/banana_hmc.html")
    page.evaluate("document.activeElement.blur()")
    turned = page.evaluate("document.querySelector('link[rel=\"next\"]').href")
    page.keyboard.press("ArrowRight")
    page.wait_for_url(turned)
