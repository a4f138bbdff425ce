"""The two pages where a reader begins: results with their figures, the courses by name, and a row for each question."""

import re

import pytest
from axe import WHOLE
from repo import ROOT

pytestmark = pytest.mark.site
ASSIGNMENTS = (ROOT / "book" / "assignments.md").read_text(encoding="utf8")
LINE = 2.9  # times the size of the letters: more than one line with its padding has, less than two


def test_the_landing_page_shows_three_results(visit):
    """Each with a figure and a number of a notebook, and the links to the derivation and to that notebook."""
    page, _ = visit("book/index.html")
    results = page.evaluate("""[...document.querySelectorAll('.dgm-result')].map(e => ({
        figures: e.querySelectorAll('figure img').length, numbers: e.querySelectorAll('.pasted-text').length,
        links: [...e.querySelectorAll('a.reference.internal')].map(a => a.innerText.split(':')[0])}))""")
    assert len(results) == 3
    for result in results:
        assert result["figures"] == 1
        assert result["numbers"] >= 2
        assert result["links"] == ["Derivation", "Run"]
    source = (ROOT / "book" / "index.md").read_text(encoding="utf8")
    for shown in source.split(":::::{container} dgm-result")[1:]:
        figure = re.search(r"\{notebook-figure\} \.\.(/notebooks/\S+)#", shown)[1]
        assert {figure} == set(re.findall(r"\{glue:text\}`(\S+)::", shown))
        assert f"](..{figure})" in shown


def test_the_landing_page_names_the_courses(visit):
    page, _ = visit("book/index.html")
    courses = re.findall(r"(?m)^## [A-D]\. (.*)$", ASSIGNMENTS)
    assert len(courses) == 4
    links = page.locator(".bd-article li a").all()
    assert [link.inner_text() for link in links] == courses
    assert [link.get_attribute("href").partition("#")[0] for link in links] == ["assignments.html"] * 4


def test_a_question_is_one_row(visit):
    """On a desk it is one line; on a phone the page is no wider than the window."""
    page, _ = visit("book/assignments.html")
    page.evaluate(WHOLE)
    rows = page.evaluate("""[...document.querySelectorAll('.dgm-questions tbody tr')].map(row => [
        row.innerText.trim(), row.offsetHeight / parseFloat(getComputedStyle(row).fontSize),
        row.querySelectorAll('td:nth-child(3) a').length])""")
    assert len(rows) == len(re.findall(r"(?m)^\| \*\*[A-E]\d", ASSIGNMENTS)) > 35
    assert [row for row in rows if row[1] > LINE or not row[2]] == []
    page.set_viewport_size({"width": 390, "height": 844})
    right = "Math.max(...[...document.querySelectorAll('.dgm-questions td')].map(e => e.getBoundingClientRect().right))"
    assert page.evaluate(right) <= 390
    assert page.evaluate("document.documentElement.scrollWidth") == 390
