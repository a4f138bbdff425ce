"""Every check of a notebook has a named mistake that makes it fail; what was tried was seen to (tools/claims.py)."""

import json
import re

import claims
import pytest
from repo import ROOT, notebooks

NOTEBOOKS = notebooks()
UNNAMED = ROOT / "tests" / "claims" / "unnamed.json"  # {notebook: [claim]}: no mistake is named yet; it must shrink


def unnamed():
    return json.loads(UNNAMED.read_text(encoding="utf8")) if UNNAMED.exists() else {}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_check_has_a_named_mistake(path):
    open_ones = unnamed().get(claims.name_of(path), [])
    assert sorted(claims.problems(path)) == sorted(f"no entry: {claim}" for claim in open_ones), "see tools/claims.py"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_written_was_seen_to_fail(path):
    """An entry with code was tried as it is now, or says that it was not, or that it takes longer than a minute."""
    known, untried = claims.entries(path), set(claims.untried(path))
    waiting = {claim for claim, entry in known.items() if entry.get("tried") is False}
    assert {claim for claim in untried - waiting if "minutes" not in known[claim]} == set(), "tools/claims.py --run"
    assert waiting <= untried, "these were tried: take `tried = false` away"


def test_no_entry_is_of_a_notebook_that_is_gone():
    files = {path.relative_to(claims.ENTRIES).as_posix() for path in claims.ENTRIES.glob("*/*.toml")}
    assert files <= {f"{path.parent.name}/{path.stem}.toml" for path in NOTEBOOKS}
    assert claims.seen().keys() | unnamed().keys() <= {claims.name_of(path) for path in NOTEBOOKS}
    for name, record in claims.seen().items():
        assert record.keys() <= claims.entries(ROOT / name).keys(), "results without an entry in seen.json"


# ---- the tool itself, on a small notebook ----


def quiet(*_, **__):
    pass


CELLS = [
    "from dgm_helpers.notebook import check\nfrom dgm_helpers.probability import kl_standard_normal\nimport torch",
    "ZERO = torch.zeros(3, dtype=torch.float64)\nfactor = 2.0",
    "unused = 1 / 0.5\nvalues = [factor * k for k in range(3)]",
    "values.append(factor * 3)\nkl = kl_standard_normal(ZERO, ZERO)",
    """def clearly(claim, holds):
    check(f"{claim}, clearly", holds)


for i, value in enumerate(values):
    check(f"{i}: twice", value == 2 * i)
claim = "the KL of equals"
check(claim + " is zero",
      abs(float(kl)) < 1e-12)
check("always", len(values) == 4)
clearly("the last is six", values[-1] == 6)""",
]
DENSITIES = "dgm_helpers/probability/densities.py"
after = (ROOT / DENSITIES).read_text(encoding="utf8").partition("def kl_standard_normal(")[2]
KL = re.search(r"(?m)^    (return .*)$", after)[1]  # as it is written now
GOOD = {
    "{i}: twice": {"wrong": "three times", "old": "factor = 2.0", "new": "factor = 3.0"},
    "the KL of equals is zero": {
        "wrong": "a nat too many",
        "old": KL,
        "new": KL.replace("return ", "return 1 + "),
        "file": DENSITIES,
    },
    "always": {"wrong": "no formula", "old": "factor = 2.0", "new": "factor = 3.0"},
    "the last is six, clearly": {"wrong": "another index", "old": "factor * 3", "new": "factor * 4"},
}


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "notebooks" / "a" / "b.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "source": [cell]} for cell in CELLS]}))

    def write(entries):
        file = claims.entry_file(path, tmp_path)
        file.parent.mkdir(exist_ok=True)
        tables = {c: "".join(f"{k} = {json.dumps(v)}\n" for k, v in e.items()) for c, e in entries.items()}
        file.write_text("".join(f"[{json.dumps(claim)}]\n{table}\n" for claim, table in tables.items()))
        return path, tmp_path

    return write


def test_claims_are_read_from_the_code(book):
    path, _ = book(GOOD)
    assert claims.all_claims(path) == dict.fromkeys(GOOD, 4)


def test_wrong_entries_are_told(book):
    path, folder = book(GOOD)
    assert claims.problems(path, folder, ROOT) == []
    changes = {
        "no such check": {"gone": GOOD["always"]},
        "no entry": {"always": None},
        "exactly once": {"always": GOOD["always"] | {"old": "values"}},
        "says what is wrong": {"always": {"old": "factor = 2.0", "new": "factor = 3.0"}},
    }
    for words, change in changes.items():
        entries = {claim: entry for claim, entry in (GOOD | change).items() if entry}
        assert [words in problem for problem in claims.problems(*book(entries), ROOT)] == [True], words


def test_a_mistake_is_tried_where_it_stands(book):
    stopping = GOOD["{i}: twice"] | {"old": "unused = 1 / 0.5", "new": "values = 1 / 0"}
    path, folder = book(GOOD)
    tried = claims.try_entries(path, list(GOOD), ROOT, folder, say=quiet)
    assert {claim: said for claim, (said, _) in tried.items()} == dict.fromkeys(GOOD, "failed") | {"always": "held"}
    path, folder = book({"{i}: twice": stopping})
    tried = claims.try_entries(path, ["{i}: twice"], ROOT, folder, say=quiet)
    assert tried["{i}: twice"][0].startswith("stopped: ZeroDivisionError")


def test_a_changed_entry_is_tried_again(book, tmp_path):
    path, folder = book(GOOD)
    first = claims.digest(path, "{i}: twice", ROOT, folder)
    changed = GOOD["{i}: twice"] | {"new": "factor = 4.0"}
    assert claims.digest(*book({"{i}: twice": changed})[:1], "{i}: twice", ROOT, folder) != first
    reworded = GOOD["{i}: twice"] | {"wrong": "other words"}
    assert claims.digest(*book({"{i}: twice": reworded})[:1], "{i}: twice", ROOT, folder) == first
    record = tmp_path / "seen.json"
    record.write_text(json.dumps({"notebooks/a/b.ipynb": {"{i}: twice": {"digest": first}}}))
    assert claims.untried(path, folder, tmp_path, record) == []
    book({"{i}: twice": changed})
    assert claims.untried(path, folder, tmp_path, record) == ["{i}: twice"]
    path, _ = book({claim: entry | {"tried": False} for claim, entry in GOOD.items()})
    claims.mark_tried(path, ["always", "{i}: twice"], folder)
    assert [claim for claim, entry in claims.entries(path, folder).items() if "tried" in entry] == [*GOOD][1::2]


def test_a_stale_entry_is_told_and_stops_nothing(book, tmp_path):
    entries = {"gone": GOOD["always"], "always": GOOD["always"] | {"old": "no such code"}}
    path, folder = book(entries)
    assert claims.untried(path, folder, tmp_path, tmp_path / "seen.json") == [*entries]
    tried = claims.try_entries(path, [*entries], ROOT, folder, say=quiet)
    assert [said.partition(":")[0] for said, _ in tried.values()] == ["stale", "stale"]
