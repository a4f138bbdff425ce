"""Numbers as they are set in print: true minus signs, powers of ten, and no line break within a value.

Code, formulas and what a program printed stay as they are.
"""

import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

AS_THEY_ARE = (nodes.literal, nodes.FixedTextElement, nodes.math, nodes.math_block, nodes.raw, nodes.Invisible)
RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
MINUS = re.compile(r"(?<![\w.\-−])-(?=\.?\d)")
POWER = re.compile(  # 3.1e-05, or what is raised in 10⁻⁵, whose small minus the typeface has not
    r"(?<![\w.])(?P<digits>\d+(?:\.\d+)?)e(?P<exponent>[+-]?\d+)(?!\w)|(?<=[\w)])(?P<raised>⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)"
)
WITHIN = re.compile(r"(?<=[\d)]) ?([±×]) ?(?=[\d(])")  # the spaces of 0.12 ± 0.03


def printed(text):
    """The nodes for a text. ``-3.1e-05`` becomes −3.1 × 10 with a superscript −5."""
    text, found, end = MINUS.sub("−", text), [], 0
    text = WITHIN.sub("\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", text)
    for match in POWER.finditer(text):
        digits, exponent = match["digits"], match["exponent"] or match["raised"].translate(RAISED)
        factor = "" if digits is None else "10" if digits == "1" else f"{digits}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}10"
        found += [nodes.Text(text[end : match.start()] + factor)]
        found += [nodes.superscript("", str(int(exponent)).replace("-", "−"))]
        end = match.end()
    return [*found, nodes.Text(text[end:])]


def stays(node):
    """Whether a node, or one around it, is of a kind that stays as it is."""
    return node is not None and (isinstance(node, AS_THEY_ARE) or stays(node.parent))


class PrintedNumbers(SphinxPostTransform):
    default_priority = 600  # after numbers from notebooks have come in

    def run(self, **kwargs):
        for node in list(self.document.findall(nodes.Text)):
            if not stays(node.parent):
                new = printed(node.astext())
                if len(new) > 1 or new[0] != node:
                    node.parent.replace(node, new)


def setup(app):
    app.add_post_transform(PrintedNumbers)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
