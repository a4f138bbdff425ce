"""The PDF's parts and macros."""

from types import SimpleNamespace

from dgm_latex import chapter_number, latex_macros, part_captions, prepare, whole_statements


def test_macros_with_and_without_arguments():
    assert latex_macros({"E": r"\mathbb{E}"}) == r"\providecommand{\E}{}\renewcommand{\E}[0]{\mathbb{E}}"
    assert latex_macros({"f": ["f(#1, #2)", 2]}).endswith(r"\renewcommand{\f}[2]{f(#1, #2)}")


def test_parts_begin_at_their_first_page():
    trees = [SimpleNamespace(items=["a", "b"], caption="One"), SimpleNamespace(items=["c"], caption=None)]
    assert part_captions(SimpleNamespace(root=SimpleNamespace(subtrees=trees))) == {"a": "One"}


def test_chapters_have_the_numbers_of_the_site():
    """A page that the site does not number has none here, and a run below a page begins no chapter."""
    env = SimpleNamespace(
        config=SimpleNamespace(root_doc="index"),
        toctree_includes={"index": ["front", "third"], "third": ["run"]},
        titles={"front": {}, "third": {"secnumber": [3]}, "run": {}},
    )
    assert chapter_number(env, "front") == "\\setcounter{secnumdepth}{-1}\n"
    assert chapter_number(env, "third") == "\\setcounter{secnumdepth}{0}\\setcounter{chapter}{2}\n"
    assert chapter_number(env, "run") == ""


def test_labels_of_theorems_have_no_index():
    config = SimpleNamespace(
        mathjax3_config={"tex": {"macros": {}}},
        html_theme_options={"logo": {"text": "Title"}},
        latex_elements={},
        latex_domain_indices=True,
        root_doc="index",
        author="A",
    )
    prepare(None, config)
    assert config.latex_domain_indices is False
    assert config.latex_documents == [("index", "book.tex", "Title", "A", "manual")]


def test_statements_are_found_and_proofs_have_titles():
    box, start = "\\begin{sphinxadmonition}{note}", "\n\\sphinxAtStartPar\n"
    statement = f"\\label{{p:thm-one}}\n{box}{{Theorem 1}}{start}All."
    assert whole_statements(statement) == "\\phantomsection" + statement
    proof = f"{box}{start}\\sphinxstyleemphasis{{Proof.}} \\sphinxstyleemphasis{{Discrete.}} Sum."
    assert whole_statements(proof) == f"{box}{{Proof}}{start}\\sphinxstyleemphasis{{Discrete.}} Sum."
