"""Sources and results: every work listed is cited, every number quoted is in the results or on a page they link to."""

import datetime
import re

import pytest
import yaml
from pybtex.database import parse_file
from repo import ROOT

BOOK = ROOT / "book"
PAGES = {path.relative_to(BOOK).as_posix(): path.read_text(encoding="utf8") for path in sorted(BOOK.rglob("*.md"))}
CITE = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
GLUE = re.compile(r"\{glue:text\}`/(?P<notebook>notebooks/[\w/]+\.ipynb)::(?P<key>\w+):")
LINK = re.compile(r"\]\(([^)#\s]+)")
WITHOUT_RESULTS = {  # pages that repeat numbers of others, or that are no derivation
    "index.md", "results.md", "contributing.md", "running.md", "status.md", "vae/choosing.md",
    "latent/exact_bound_sample.md",
}  # fmt: skip
FIELDS = {  # what an entry must have, by its type
    "article": {"title", "journal", "volume", "pages", "year"},
    "inproceedings": {"title", "booktitle", "year"},
    "incollection": {"title", "booktitle", "publisher", "pages", "year"},
    "book": {"title", "publisher", "year"},
    "techreport": {"title", "institution", "number", "year"},
    "misc": {"title", "howpublished", "year"},
}


def cited(texts):
    """Keys of all works that pages cite."""
    return {key.strip() for text in texts for group in CITE.findall(text) for key in group.split(",")}


def bibliography():
    return parse_file(BOOK / "references.bib").entries


def entry_problems(key, entry):
    """What is wrong with one entry: missing fields, a key of another year, pages with one hyphen, arXiv as a note."""
    missing = FIELDS[entry.type] - set(entry.fields.keys())
    problems = [f"{key}: no {field}" for field in sorted(missing)]
    if entry.fields["year"] not in key:
        problems.append(f"{key}: the key lacks the year {entry.fields['year']}")
    if re.search(r"\d-\d", entry.fields.get("pages", "")):
        problems.append(f"{key}: pages with a single hyphen")
    if "arXiv" in entry.fields.get("note", "") or "arxiv.org" in entry.fields.get("url", ""):
        problems.append(f"{key}: arXiv as a note, not as an eprint")
    if ("eprint" in entry.fields) != (entry.fields.get("archiveprefix") == "arXiv"):
        problems.append(f"{key}: eprint without archivePrefix, or the reverse")
    return problems


def citation_problems(data, today):
    """What is wrong with a CITATION.cff: of the fields that version 1.2.0 of the format requires, and of ours."""
    required = {"cff-version": str, "message": str, "title": str, "authors": list, "license": str, "date-released": str}
    problems = [name for name, kind in required.items() if not (isinstance(data.get(name), kind) and data[name])]
    if data.get("cff-version") != "1.2.0":
        problems.append("cff-version is not 1.2.0")
    if data.get("type", "software") not in {"software", "dataset"}:
        problems.append("type")
    for author in data.get("authors") or [{}]:
        if not author.keys() & {"name", "family-names"}:
            problems.append("an author without a name")
    if not problems and not "2020" < data["date-released"] <= today:
        problems.append("date-released lies in the future")
    return problems


def measured(text):
    """The first number in the second column of every row of the results' tables: (notebook, key)."""
    rows = [line.split("|")[2:3] for line in text.splitlines() if line.startswith("|")]
    found = [GLUE.search(cell) for row in rows for cell in row]
    return [match.group("notebook", "key") for match in found if match]


def unlinked(pages, results):
    """Pages that quote a measured number but are not linked from the results."""
    linked = {link.removeprefix("../") for link in LINK.findall(results)}
    quoting = {name for name, text in pages.items() if GLUE.search(text)} - WITHOUT_RESULTS
    return sorted(quoting - linked)


def test_every_work_listed_is_cited_and_every_citation_is_listed():
    keys = set(bibliography())
    assert sorted(cited(PAGES.values()) ^ keys) == []
    assert ":all:" not in PAGES["references.md"]


def test_entries_are_whole():
    assert [problem for key, entry in bibliography().items() for problem in entry_problems(key, entry)] == []


def test_citation_file():
    data = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    assert citation_problems(data, datetime.datetime.now(datetime.UTC).date().isoformat()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"license": ["MIT", "CC-BY-4.0"]},
        {"date-released": None},
        {"date-released": "2999-01-01"},
        {"authors": [{"affiliation": "x"}]},
        {"cff-version": "1.1.0"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_wrong_citation_file_is_noticed(change):
    data = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    assert citation_problems(data | change, "2998-01-01") != []


def test_every_page_with_numbers_is_linked_from_the_results():
    assert unlinked(PAGES, PAGES["results.md"]) == []


def test_a_measured_number_stands_once_in_the_results():
    rows = measured(PAGES["results.md"])
    assert len(rows) > 100
    assert sorted({row for row in rows if rows.count(row) > 1}) == []


def test_what_these_tests_read():
    glued = "{glue:text}`/notebooks/a/b.ipynb::%s:.2f`"
    table = f"| what | {glued % 'x'} ± {glued % 'y'} | {glued % 'z'} | |\n|---|---:|\n| none | 3 |"
    assert measured(table) == [("notebooks/a/b.ipynb", "x")]
    assert unlinked({"a/b.md": glued % "x", "a/c.md": "no number"}, "[a](a/c.md)") == ["a/b.md"]
    assert unlinked({"a/b.md": glued % "x"}, "[a](a/b.md#there)") == []
    assert cited(["{cite}`a1`, {cite:p}`b2, c3`"]) == {"a1", "b2", "c3"}
