"""The search for what is cut off finds it: formulas in each kind of box that hides a part of them, and wide code."""

import pytest
from axe import AT_ONCE, WHOLE
from cut import cut_off

pytestmark = pytest.mark.site
DAMAGE = {  # a rule: what it does to formulas or code
    "div.math mjx-container { height: 1.2em !important; padding-block: 0 !important }": "at 1280 px clipped",
    "span.math { overflow: hidden; display: inline-block; height: 0.9em }": "at 1280 px clipped",
    ".math mjx-c { overflow: hidden; max-height: 0.4em }": "at 1280 px clipped",
    "@media (width < 400px) { div.math mjx-container { height: 1.2em !important; padding-block: 0 !important } }": (
        "at 390 px clipped"
    ),
    ".bd-article .highlight pre { width: 90px; overflow: auto; white-space: pre !important }": "too wide",
    "div.math mjx-container { max-width: 90px; overflow: auto hidden }": "too wide",
}


def test_what_is_cut_off_is_found(visit):
    page, _ = visit("book/flows/change_of_variables.html")
    page.evaluate(WHOLE)
    page.add_style_tag(content=AT_ONCE)
    assert cut_off(page, (1280, 390)) == []
    unseen = []
    for damage, finding in DAMAGE.items():
        style = page.add_style_tag(content=damage)
        found = cut_off(page, (390,) if "390" in finding else (1280,))
        if not any(one.startswith(finding) for one in found):
            unseen.append(damage)
        style.evaluate("e => e.remove()")
    assert unseen == []
    assert cut_off(page) == []
