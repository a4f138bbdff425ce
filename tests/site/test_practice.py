"""Practice mode on the built site: solutions fold, hints appear, links and searches open what they lead to."""

import re
import sys

import pytest
from repo import ROOT, SITE, toc_pages

pytestmark = pytest.mark.site
PAGE = "book/vae/elbo.html"
ON = "localStorage.setItem('dgm-practice', 'on')"
QUESTION = re.compile(r"^\*\*Question\.\*\*", re.MULTILINE)
ASKING = [page for page in toc_pages() if (path := ROOT / f"{page}.md").exists() and QUESTION.search(path.read_text())]
BLOCKED = """Object.defineProperty(window, 'localStorage', {
  get() { throw new DOMException('blocked', 'SecurityError'); }, configurable: true });"""


def folds(page, kind="solution"):
    """For each fold of a kind: whether it is open."""
    return page.evaluate(f"[...document.querySelectorAll('details.dgm-{kind}')].map(fold => fold.open)")


def shown(page, selector):
    return page.locator(selector).first.is_visible()


def test_pages_with_questions_are_known():
    assert len(ASKING) >= 12


@pytest.mark.parametrize("name", ASKING)
def test_every_question_folds(visit, name):
    """All that follows an answer is in a fold, up to the next heading of the question's level."""
    source = (ROOT / f"{name}.md").read_text()
    page, complaints = visit(f"{name}.html", script=ON)
    asked = len(QUESTION.findall(source))
    labels = page.locator("details.dgm-solution > summary").all_inner_texts()
    assert sum(label.startswith("Solution of ") for label in labels) == asked
    assert not any(folds(page))
    assert len(folds(page)) == len(labels)
    told = page.evaluate("""() => {
      const asks = section => [...section.children].some(e => e.innerText.startsWith('Question.'));
      return [...document.querySelectorAll('.bd-article p > strong:first-child')]
        .filter(e => e.innerText === 'Answer.' || e.innerText === 'Check.' && asks(e.closest('section')))
        .filter(e => !e.closest('details.dgm-solution'))
        .map(e => e.parentElement.innerText.slice(0, 80)); }""")
    assert told == []
    assert page.locator("details.dgm-solution details.dgm-solution, details.dgm-hint details").count() == 0
    hints = len(re.findall(r"^\*\*Hint( \d)?\.\*\*", source, re.MULTILINE))
    assert page.locator("details.dgm-hint > summary").count() == hints
    assert "Hint" not in page.locator("details.dgm-hint > :not(summary)").all_inner_texts().__str__()
    assert complaints == []


@pytest.mark.parametrize("name", ASKING)
def test_long_solutions_have_hints(name):
    """A solution of more than 60 lines comes after a hint."""
    parts = QUESTION.split((ROOT / f"{name}.md").read_text())[1:]
    for part in parts:
        assert part.count("\n") <= 60 or "\n**Hint" in part.split("\n**Answer.**")[0]


def test_switch_turns_and_is_remembered(visit):
    page, complaints = visit(PAGE)
    switch = page.get_by_role("switch", name="Practice")
    assert switch.get_attribute("aria-checked") == "false"
    assert all(folds(page))
    assert not shown(page, "details.dgm-hint")
    assert not shown(page, "details.dgm-solution > summary")
    switch.focus()
    page.keyboard.press("Space")
    assert switch.get_attribute("aria-checked") == "true"
    assert not any(folds(page))
    assert shown(page, "details.dgm-hint > summary")
    assert not shown(page, "#b4-1 ~ * .proof, details.dgm-solution .proof")
    page.goto((SITE / "book/vae/importance_bounds.html").as_uri())
    assert not any(folds(page))
    assert not any(folds(page, "hint"))
    page.locator("details.dgm-hint > summary").first.press("Enter")
    page.locator("details.dgm-solution > summary").first.press("Enter")
    assert folds(page, "hint") == [True, False, False]
    assert all(folds(page))
    page.get_by_role("switch").click()
    page.goto((SITE / PAGE).as_uri())
    assert all(folds(page))
    assert complaints == []


def test_pages_without_questions_have_no_switch(visit):
    page, _ = visit("notebooks/vae/vae_2d.html", script=ON)
    assert page.locator(".dgm-practice, details.dgm-solution").count() == 0


def test_all_is_shown_without_javascript(visit):
    page, _ = visit(PAGE, java_script_enabled=False)
    assert shown(page, "details.dgm-solution .proof")
    assert not shown(page, ".dgm-practice")
    assert not shown(page, "details.dgm-hint")
    assert not shown(page, "details.dgm-solution > summary")


def test_blocked_storage_does_no_harm(visit):
    page, complaints = visit(PAGE, script=BLOCKED)
    page.get_by_role("switch").click()
    assert not any(folds(page))
    assert complaints == []


def comes_into_view(page, target):
    page.wait_for_function(
        "id => { const box = document.getElementById(id).getBoundingClientRect();"
        " return box.height > 0 && box.top > -5 && box.top < innerHeight; }",
        arg=target,
        timeout=10_000,
    )


@pytest.mark.parametrize("target", ["thm-reparameterised", "equation-eq-elbo-minibatch", "strengths-and-weaknesses"])
def test_deep_links_unfold(visit, target):
    page, _ = visit(PAGE, script=ON)
    page.evaluate("id => { location.hash = id; }", target)
    comes_into_view(page, target)
    assert folds(page) == [False, True] + [False] * (len(folds(page)) - 2)
    page.locator("details.dgm-solution[open] > summary").click()
    page.evaluate("id => document.querySelector('.bd-article').insertAdjacentHTML("
                  "'afterbegin', `<a id='again' href='#${id}'>again</a>`)", target)  # fmt: skip
    page.locator("#again").click()
    comes_into_view(page, target)
    page.goto("about:blank")
    page.goto(f"{(SITE / PAGE).as_uri()}#{target}")
    comes_into_view(page, target)
    assert sum(folds(page)) == 1


@pytest.mark.parametrize("target", ["wrong-elbo", "b4-1"])
def test_a_link_to_the_mistakes_opens_them_and_one_to_a_question_nothing(visit, target):
    """The heading is outside the fold; a question is there to be tried."""
    page, _ = visit("book/vae/elbo.html", script=ON, reduced_motion="reduce")
    page.goto(f"{(SITE / 'book/vae/elbo.html').as_uri()}#{target}")
    page.wait_for_function("id => Math.abs(document.getElementById(id).getBoundingClientRect().top) < 200", arg=target)
    opened = page.evaluate("[...document.querySelectorAll('details.dgm-solution[open]')].map(e => 'all' in e.dataset)")
    assert opened == [True] * (target == "wrong-elbo")


def test_unfolding_is_not_left_to_the_browser(visit):
    """Some open a fold for the anchor in an address by themselves: here nothing but the script hears of the change."""
    page, _ = visit(PAGE, script=ON, reduced_motion="reduce")
    target = "thm-reparameterised"
    page.evaluate("""id => {
        history.replaceState(null, '', `#${id}`);
        dispatchEvent(new HashChangeEvent('hashchange'));
    }""", target)  # fmt: skip
    comes_into_view(page, target)
    assert sum(folds(page)) == 1


def test_search_results_unfold(visit):
    page, _ = visit(f"{PAGE}?highlight=amortisation", script=ON)
    page.wait_for_load_state("load")
    found = page.locator(".bd-article span.highlighted").first
    found.wait_for()
    assert found.is_visible()


def test_print_shows_solutions(visit):
    page, _ = visit(PAGE, script=ON)
    page.emulate_media(media="print")
    assert not shown(page, ".dgm-practice")
    assert not shown(page, "details.dgm-hint")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert all(folds(page))
    assert shown(page, "details.dgm-solution .proof")
    assert not shown(page, "details.dgm-solution > summary")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not any(folds(page))


def test_asides_open_for_print_and_for_links_into_them(visit):
    """A theorem that another page cites may stand in a fold."""
    page, _ = visit("book/mcmc/kl_contraction.html")
    asides = page.locator("details.sd-dropdown")
    assert asides.count() > 0
    assert not any(asides.evaluate_all("all => all.map(aside => aside.open)"))
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert all(asides.evaluate_all("all => all.map(aside => aside.open)"))
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not any(asides.evaluate_all("all => all.map(aside => aside.open)"))
    assert not page.locator("#thm-kl-general").is_visible()
    page.evaluate("location.hash = '#thm-kl-general'")
    page.locator("#thm-kl-general").wait_for()


def test_shape_of_a_section():
    """Hints, continued sections, a second question, and a section with questions of its own."""
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    import dgm_practice
    from docutils import nodes

    def said(word, text="x"):
        return nodes.paragraph("", "", nodes.Text(""), nodes.strong("", word), nodes.Text(" " + text))

    inner = nodes.section("", nodes.title("", "Inner"), said("Question."), said("Answer."), ids=["b2"])
    plain = nodes.section("", nodes.title("", "More"), nodes.paragraph("", "of the same"))
    section = nodes.section(
        "", nodes.title("", "Title"), said("Question."), nodes.paragraph("", "more"), ids=["a", "a1b"]
    )
    section += [said("Hint 1."), nodes.paragraph("", "still"), said("Hint 2."), said("Answer."), said("Check."), plain]
    section += [inner, said("Question."), said("Answer.")]
    dgm_practice.fold_section(section)
    dgm_practice.fold_section(inner)
    shape = [child.get("label", type(child).__name__) for child in section]
    hints, solution = ["Hint 1 for A1b", "Hint 2 for A1b"], "Solution of A1b"
    assert shape == ["title", "paragraph", "paragraph", *hints, solution, "section", "paragraph", solution]
    assert [len(child.children) for child in section[3:6]] == [2, 1, 3]
    assert inner[-1]["label"] == "Solution of B2"
    assert dgm_practice.question_names({"ids": ["the-title", "b4-2", "c10", "d9", "d9-ppca"]}) == "B4.2, C10 and D9"
