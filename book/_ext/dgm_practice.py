"""Practice mode: solutions that fold, and hints that come before them.

Pages need no markup for it. In a section that holds a paragraph ``**Question.** ...``, everything from ``**Answer.**``
to the section's end, or to the next question, is its solution; ``**Hint.**`` or ``**Hint 1.**`` paragraphs between the
two, each with what follows it, are hints. A section "What goes wrong" beside the questions tells their answers too.

In the HTML both are ``<details>``: solutions open, so that nothing is hidden without JavaScript, hints closed and shown
in practice mode only. The switch is a button below the page's title; ``practice.js`` turns it and remembers its state.
"""

import html
import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

QUESTION_ID = re.compile(r"([a-e]\d+[a-z]?(?:-\d+)?)(?:-[a-z]+)?")  # of d9-ppca the question is D9
PITFALLS = "what goes wrong"
SWITCH = """<div class="dgm-practice"><button type="button" role="switch" aria-checked="false"
 aria-describedby="dgm-practice-note">Practice</button>
<span id="dgm-practice-note">folds the solutions and offers hints</span></div>
"""


class Fold(nodes.General, nodes.Element):
    """What folds: attributes ``kind`` (``solution`` or ``hint``) and ``label``, the words of its button; or the switch.

    ``all``: it holds all of its section but the heading, and a link to the section opens it.
    """


def lead(node):
    """The bold words that a paragraph begins with, such as ``Answer.``, else an empty string."""
    first = next((child for child in node.children if child.astext()), None)  # MyST puts an empty text before it
    return first.astext() if isinstance(node, nodes.paragraph) and isinstance(first, nodes.strong) else ""


def holds_question(node):
    return any(lead(paragraph) == "Question." for paragraph in node.findall(nodes.paragraph))


def question_names(section):
    """The IDs of the questions that a section answers, as they are written: ``b4-2`` is B4.2, ``a1b`` is A1b."""
    found = [match[1] for one in section["ids"] if (match := QUESTION_ID.fullmatch(one))]
    *most, last = [one[0].upper() + one[1:].replace("-", ".") for one in dict.fromkeys(found)] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def fold_section(section):
    """Wrap the hints and the solution of each question among the direct children of a section."""
    name = question_names(section)
    children, fold, asked = list(section.children), None, False
    section.clear()
    for child in children:
        word = lead(child)
        if word == "Question." or (isinstance(child, nodes.section) and holds_question(child)):
            asked, fold = word == "Question.", None
        elif asked and re.fullmatch(r"Hint( \d+)?\.", word):
            child.remove(next(child.findall(nodes.strong)))
            label = word.rstrip(".") + (f" for {name}" if name else "")
            fold = Fold(kind="hint", label=label)
            section += fold
        elif asked and (word == "Answer." or (fold is None and isinstance(child, nodes.section))):
            asked = False
            fold = Fold(kind="solution", label=f"Solution of {name}" if name else "Solution")
            section += fold
        (section if fold is None else fold).append(child)


class FoldSolutions(SphinxPostTransform):
    """Wrap solutions and hints, and put the switch below the title of a page that has any."""

    default_priority = 900  # after references are resolved and proofs tidied
    formats = ("html",)

    def run(self, **kwargs):
        asked = [s for s in self.document.findall(nodes.section) if any(lead(child) == "Question." for child in s)]
        for section in asked:
            fold_section(section)
        if not asked:
            return
        folded = [section for fold in self.document.findall(Fold) for section in fold.findall(nodes.section)]
        for section in list(self.document.findall(nodes.section)):
            if section[0].astext().strip().lower() == PITFALLS and section not in folded:
                label = "What goes wrong tells the answers"
                section[1:] = [Fold("", *section[1:], kind="solution", label=label, all=True)]
        next(self.document.findall(nodes.section)).insert(1, Fold(kind="switch"))


def visit_fold(self, node):
    if node["kind"] == "switch":
        self.body.append(SWITCH)
        raise nodes.SkipNode
    state = (" open" if node["kind"] == "solution" else "") + (" data-all" if node.get("all") else "")
    label = html.escape(node["label"])
    self.body.append(f'<details class="dgm-{node["kind"]}"{state}><summary>{label}</summary>\n')


def depart_fold(self, node):
    self.body.append("</details>\n")


def setup(app):
    app.add_node(Fold, html=(visit_fold, depart_fold))
    app.add_post_transform(FoldSolutions)
    app.add_js_file("practice.js", loading_method="defer")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
