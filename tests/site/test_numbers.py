"""Numbers of equations, statements and figures: they begin at 1 in each chapter, and references print those of their
targets."""

import posixpath
import re
from collections import defaultdict

import pytest
from bs4 import BeautifulSoup
from repo import SITE, toc_chapters

pytestmark = pytest.mark.site
CHAPTERS = toc_chapters()
NAMED = re.compile(r"(?P<kind>[A-Z][a-z]+) (?P<number>[\d.]+)")
EQUATION = re.compile(r"\((?P<number>[\d.]+)\)")
REFERENCE = re.compile(rf"{EQUATION.pattern}|{NAMED.pattern}".replace("?P<number>", "").replace("?P<kind>", ""))


def read(pages):
    """{page: its article} of pages as HTML."""
    return {page: BeautifulSoup(text, "html.parser").find("article") for page, text in pages.items()}


def numbered(article):
    """(anchor, what stands there) of all that has a number on a page, in its order: "Theorem 13.2", "(13.1)"."""
    for mark in article.select(".caption-number, .eqno"):
        text = mark.get_text().replace("#", "").strip()
        if REFERENCE.fullmatch(text):  # else a proof, or a remark, without a number
            yield mark.find_parent(id=True)["id"], text


def out_of_order(articles, chapters):
    """What is not the next of its kind in its chapter, the first of which is 1."""
    counts, found = defaultdict(int), []
    for page, number in chapters.items():
        for anchor, text in numbered(articles[page]):
            named = NAMED.fullmatch(text) or EQUATION.fullmatch(text)
            kind = number, named.groupdict().get("kind", "equation")
            counts[kind] += 1
            expected = f"{counts[kind]}" if number is None else f"{number}.{counts[kind]}"
            if named["number"] != expected:
                found.append(f"{page}#{anchor} is {text}, not {expected}")
    return found


def disagreeing(articles):
    """References that print another number than their target, and how many references there are."""
    targets = {(page, *one) for page, article in articles.items() for one in numbered(article)}
    anchors, found, count = {target[:2] for target in targets}, [], 0
    for page, article in articles.items():
        for link in article.select("a.reference.internal[href*='#']"):
            path, _, anchor = link["href"].partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else f"{page}.html"
            target, text = target.removesuffix(".html"), link.get_text().strip()
            if (target, anchor) not in anchors or not REFERENCE.fullmatch(text):
                continue  # a link with words of its own
            count += 1
            if (target, anchor, text) not in targets:
                found.append(f"{page} calls {target}#{anchor} {text}")
    return found, count


@pytest.fixture(scope="module")
def articles():
    return read({page: (SITE / f"{page}.html").read_text(encoding="utf8") for page in CHAPTERS})


def test_each_chapter_begins_at_one(articles):
    assert out_of_order(articles, CHAPTERS) == []
    firsts = {text for page in CHAPTERS for _, text in numbered(articles[page]) if CHAPTERS[page]}
    assert {"(1.1)", "(2.1)", "Theorem 2.1", "Figure 1.1", "Figure 2.1"} <= firsts


def test_references_print_the_numbers_of_their_targets(articles):
    found, count = disagreeing(articles)
    assert found == []
    assert count > 300


def test_a_numbered_page_says_its_number(articles):
    """In its title: that is how one finds where Theorem 13.2 is. A run, which belongs to its derivation, does not."""
    for page, article in articles.items():
        number = article.find("h1").find(class_="section-number")
        expected = f"{CHAPTERS[page]}." if CHAPTERS[page] and page.startswith("book/") else ""
        assert (number.get_text().strip() if number else "") == expected, page


SOUND = {
    "a": '<article><div id="t"><span class="caption-number">Theorem 1.1 </span></div>'
    '<div id="e"><span class="eqno">(1.1)<a>#</a></span></div></article>',
    "b": '<article><div id="u"><span class="caption-number">Theorem 1.2 </span></div>'
    '<a class="reference internal" href="a.html#t">Theorem 1.1</a>'
    '<a class="reference internal" href="a.html#e">(1.1)</a></article>',
}


@pytest.mark.parametrize(
    ("page", "old", "new", "said"),
    [
        ("a", ">Theorem 1.1 ", ">Theorem 1 ", "a#t is Theorem 1, not 1.1"),
        ("a", ">(1.1)<", ">(7)<", r"a#e is \(7\), not 1.1"),
        ("b", ">Theorem 1.2 ", ">Theorem 1.1 ", "b#u is Theorem 1.1, not 1.2"),
        ("b", ">Theorem 1.1<", ">Theorem 1.2<", "b calls a#t Theorem 1.2"),
        ("b", ">(1.1)<", ">(1.2)<", r"b calls a#e \(1.2\)"),
    ],
)
def test_a_wrong_number_is_found(page, old, new, said):
    chapters = {"a": 1, "b": 1}
    assert out_of_order(read(SOUND), chapters) + disagreeing(read(SOUND))[0] == []
    assert old in SOUND[page]
    broken = read(SOUND | {page: SOUND[page].replace(old, new)})
    assert re.match(said, (out_of_order(broken, chapters) + disagreeing(broken)[0])[0])
