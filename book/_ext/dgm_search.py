"""Search that knows ``8.11`` and ``B4.2`` as words: Sphinx splits at the dot, and then leaves out bare numbers.

What is shown of a page that was found is its text, without the theme's buttons and the table of contents.
"""

import re
from pathlib import Path

from sphinx.errors import ExtensionError
from sphinx.search.en import SearchEnglish

# one pattern, in two languages: a number with one or two digits after each dot, or the usual word
NUMBERED = re.compile(r"\w*\d(?:\.\d{1,2})+(?!\d)")
WORD = re.compile(rf"{NUMBERED.pattern}|\w+")
SPLIT = r"""
function splitQuery(query) {
  const word = /[\p{L}\p{N}_]*\p{N}(?:\.\p{N}{1,2})+(?!\p{N})|[\p{L}\p{N}_\p{Emoji_Presentation}]+/gu;
  return query.match(word) ?? [];
}
"""


class SearchNumbered(SearchEnglish):
    """English; a numbered word is found whole, and by its parts."""

    js_splitter_code = SPLIT

    def split(self, input):
        found = WORD.findall(input)
        return found + [part for word in found if NUMBERED.fullmatch(word) for part in word.split(".")]


def article_only(script):
    """Sphinx's search script, which then quotes a page's article. Raises ExtensionError if it is another script."""
    script, found = re.subn(r"(const docContent = htmlElement\.querySelector\()'[^']*'\)", r"\1'.bd-article')", script)
    if found != 1:
        raise ExtensionError("Sphinx's search no longer takes a page's text where it did: see dgm_search.py")
    return script


def finish(app, exception):
    if exception is None and app.builder.name == "html":
        script = Path(app.outdir) / "_static" / "searchtools.js"
        script.write_text(article_only(script.read_text(encoding="utf8")), encoding="utf8")


def setup(app):
    app.add_search_language(SearchNumbered)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
