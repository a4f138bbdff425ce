"""Search: what a student would type finds the page that derives it."""

import sys
from types import SimpleNamespace

import pytest
from docutils import nodes
from repo import ROOT, SITE, toc_pages
from sphinx.errors import ExtensionError

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import dgm_search

pytestmark = pytest.mark.site
SEARCHES = {  # what is looked for: the page under book/ that must be the first or the second found
    "KL divergence gaussians": "probability/gaussian_kl",
    "Kullback-Leibler": "probability/gaussian_kl",
    "law of total variance": "probability/conditioning",
    "moment matching": "probability/moment_matching",
    "Markov blanket": "probability/graphical_models",
    "d-separation": "probability/graphical_models",
    "8.11": "probability/graphical_models",
    "Bayesian linear regression": "probability/bayesian_regression",
    "masked autoencoder": "autoregressive/made",
    "autoregressive models": "autoregressive/made",
    "change of variables": "flows/change_of_variables",
    "normalizing flows": "flows/change_of_variables",
    "planar": "flows/planar_and_couplings",
    "RealNVP": "flows/planar_and_couplings",
    "hmc leapfrog": "mcmc/hmc",
    "stationary distribution": "mcmc/kl_contraction",
    "ELBO": "vae/elbo",
    "variational inference": "vae/elbo",
    "B4.2": "vae/elbo",
    "reparameterization trick": "vae/gradient_estimators",
    "score function": "vae/gradient_estimators",
    "REINFORCE": "vae/gradient_estimators",
    "importance sampling": "vae/importance_bounds",
    "IWAE": "vae/iwae",
    "beta-VAE": "vae/vae_extensions",
    "amortization gap": "vae/svi_posterior",
    "posterior collapse": "latent/linear_vae",
    "expectation maximization": "latent/mixtures",
    "Gaussian mixture models": "latent/mixtures",
    "PPCA": "latent/ppca",
}
FIND = """([query]) => {
  document.querySelectorAll('input[name="q"]').forEach(input => { input.value = query; });
  document.querySelector('#search-results').replaceChildren();
  Search.performSearch(query);
}"""
FOUND = "[...document.querySelectorAll('#search-results li > a')].map(a => a.getAttribute('href'))"


DONE = "document.querySelector('#search-results .search-summary')?.innerText.includes('found')"


def opened(visit, query="bound"):
    """The search page, when it has shown what it found."""
    page, complaints = visit(f"search.html?q={query}")
    page.wait_for_function(DONE)
    return page, complaints


def search(page, query):
    """Addresses of what the search page shows for a query, in their order."""
    page.evaluate(FIND, [query])
    page.wait_for_function(DONE)
    return page.evaluate(FOUND)


def rank(found, page):
    """Which of the addresses is the first on a page, from 1; None if none is."""
    names = [address.partition("#")[0] for address in found]
    return names.index(f"{page}.html") + 1 if f"{page}.html" in names else None


def test_students_find_derivations(visit):
    page, complaints = opened(visit)
    rows = [(query, goal, rank(search(page, query), f"book/{goal}")) for query, goal in SEARCHES.items()]
    table = "\n".join(f"{query:30}{goal:32}{place}" for query, goal, place in rows)
    assert len(rows) == 30
    assert all(place in (1, 2) for *_, place in rows), f"\n{table}"
    assert complaints == []


def test_either_spelling_finds_the_same(visit):
    page, _ = opened(visit)
    for american, british in [("normalizing", "normalising"), ("behavior", "behaviour"), ("amortized", "amortised")]:
        one, other = ({found.partition("#")[0] for found in search(page, word)} for word in (american, british))
        assert one == other != set()


def test_a_result_says_what_it_is(visit):
    page, _ = opened(visit, "leapfrog")
    marks = dict(
        page.evaluate(
            "[...document.querySelectorAll('#search-results li > a')].map(link => [link.getAttribute('href')"
            ".replace(/#.*/, ''), getComputedStyle(link, '::before').content])"
        )
    )
    assert marks["book/mcmc/hmc.html"] == '"Derivation"'
    assert marks["notebooks/mcmc/banana_hmc.html"] == '"Run"'
    assert marks["book/play/banana_hmc.html"] == '"Play"'
    assert marks["book/reference/mcmc.html"] == '"Reference"'
    assert marks["book/assignments.html"] == "none"


def test_every_derivation_has_keywords():
    chapters = {path.name for path in (ROOT / "notebooks").iterdir() if path.is_dir()}
    script = (SITE / "_static" / "language_data.js").read_text(encoding="utf8")
    pages = [page for page in toc_pages() if page.startswith("book/") and page.split("/")[1] in chapters]
    assert len(pages) > 20
    assert [page for page in pages if f'"{page}": [' not in script] == []


@pytest.mark.parametrize(("keywords", "wrong"), [("HMC, leapfrog", None), ("HMC, score function", "score function")])
def test_keywords_are_single_words(keywords, wrong):
    env = SimpleNamespace(docname="page", metadata={"page": {}})
    doctree = nodes.section("", nodes.meta(name="keywords", content=keywords))
    if wrong:
        with pytest.raises(ExtensionError, match=wrong):
            dgm_search.note_keywords(SimpleNamespace(env=env), doctree)
    else:
        dgm_search.note_keywords(SimpleNamespace(env=env), doctree)
        assert env.metadata["page"]["keywords"] == ["HMC", "leapfrog"]


def test_found_pages_are_quoted_without_their_furniture(visit):
    page, _ = visit("search.html?q=bound")
    html = (SITE / "notebooks/vae/conv_vae.html").read_text(encoding="utf8")
    text = page.evaluate("html => Search.htmlToText(html)", html).split()
    assert text[:3] == ["A", "convolutional", "VAE"]
    assert not {".ipynb", ".pdf", "Contents"} & set(text)


def test_numbered_words():
    split = dgm_search.SearchNumbered({}).split
    assert split("Bishop 8.11 and B4.2, in 3.14159 ways.") == [
        "Bishop", "8.11", "and", "B4.2", "in", "3", "14159", "ways", "8", "11", "B4", "2"]  # fmt: skip
