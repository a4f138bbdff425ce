"""The sidebar: a run is below its derivation, unfolded where it is read, and in a finger's reach."""

import pytest
from repo import ROOT, notebooks, toc_pages

pytestmark = pytest.mark.site
FOLDS = """[...document.querySelectorAll('.bd-sidebar-primary li:has(> details)')].map(li => ({
    page: li.querySelector('a').href, open: li.querySelector('details').open,
    runs: [...li.querySelectorAll('details a')].map(a => a.href), name: li.querySelector('summary').ariaLabel,
}))"""


def ends(address):
    """The page of an address, as `_toc.yml` names it; that of the open page has no file."""
    return address.rpartition("/html/")[2].split("#")[0].removesuffix(".html")


@pytest.mark.parametrize("name", ["book/index", "book/vae/elbo", "notebooks/vae/vae_2d"])
def test_runs_are_below_their_derivations(visit, name):
    page, _ = visit(f"{name}.html")
    folds = page.evaluate(FOLDS)
    folds = [fold for fold in folds if not ends(fold["page"]).startswith("book/reference/")]
    below = {ends(run): ends(fold["page"]) for fold in folds for run in fold["runs"]}
    assert sorted(below) == sorted(str(path.relative_to(ROOT).with_suffix("")) for path in notebooks())
    for run, derivation in below.items():
        assert f"/{run}.ipynb" in (ROOT / f"{derivation}.md").read_text(), (run, derivation)
    current = "book/vae/elbo" if name != "book/index" else None
    assert [ends(fold["page"]) for fold in folds if fold["open"]] == [current] * (current is not None)
    assert len({fold["name"] for fold in folds}) == len(folds)  # an arrow says what it unfolds


def test_a_finger_unfolds_and_reads(visit):
    page, _ = visit("book/vae/elbo.html", viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.locator(".primary-toggle").first.click()
    arrow = page.locator(".bd-sidebar-primary li:has(> details) .toctree-toggle").first
    arrow.scroll_into_view_if_needed()
    box = arrow.bounding_box()
    assert min(box["width"], box["height"]) >= 44
    run = page.locator(".bd-sidebar-primary li:has(> details) details a").first
    assert not run.is_visible()
    arrow.tap()
    run.wait_for(state="visible")
    assert run.evaluate("e => e.scrollWidth <= e.clientWidth && e.getBoundingClientRect().right <= innerWidth")
    titles = page.locator(".bd-sidebar-primary li:has(> details) > a").all()
    rows = [title.evaluate("e => e.parentElement.getBoundingClientRect().height - e.offsetHeight") for title in titles]
    assert sum(row < 8 for row in rows) == len(rows) - 2  # no gaps: only the two that are open are higher


def test_pages_follow_the_table_of_contents(visit):
    """From a derivation to its run, and from there to the next derivation."""
    pages = toc_pages()
    place = pages.index("book/vae/elbo")
    page, _ = visit("book/vae/elbo.html")
    sides = [page.locator(f".prev-next-area .{side}").evaluate("e => e.href") for side in ("left-prev", "right-next")]
    assert [ends(side) for side in sides] == [pages[place - 1], pages[place + 1]]
    assert pages[place + 1] == "notebooks/vae/vae_2d"
