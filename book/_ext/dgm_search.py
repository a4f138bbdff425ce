"""Search: numbered words such as ``8.11`` and ``B4.2``, either spelling, and each page's keywords before all else.

A page's keywords are single words in its front matter (``html_meta``), which Sphinx puts into its index; search.js,
Sphinx's scorer, orders what was found by them.
"""

import json
import re
from pathlib import Path

from docutils import nodes
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
# normalize and normalise, behavior and behaviour: one word
STEM = """{
  const English = Stemmer;
  Stemmer = function () {
    const english = new English();
    this.stemWord = word => english.stemWord(word.replace(/(?<=[a-z]{3})our/g, 'or').replaceAll('z', 's'));
  };
}"""


class SearchNumbered(SearchEnglish):
    """English in either spelling; a numbered word is found whole, and by its parts."""

    js_splitter_code = SPLIT
    js_stemmer_code = SearchEnglish.js_stemmer_code + STEM

    def stem(self, word):
        return super().stem(re.sub(r"(?<=[a-z]{3})our", "or", word.lower()).replace("z", "s"))

    def split(self, input):
        found = WORD.findall(input)
        return found + [part for word in found if NUMBERED.fullmatch(word) for part in word.split(".")]


def note_keywords(app, doctree):
    """Keep a page's keywords, for the scorer. Raises ExtensionError for one that no search would find."""
    for node in doctree.findall(nodes.meta):
        if node.get("name") == "keywords":
            words = [word.strip() for word in node["content"].split(",")]
            wrong = [word for word in words if not WORD.fullmatch(word)]
            if wrong:
                raise ExtensionError(f"{app.env.docname}: keywords must be single words, not {', '.join(wrong)}")
            app.env.metadata[app.env.docname]["keywords"] = words


def write_scorer(app, env):
    """Give Sphinx the scorer with the keywords of all pages."""
    keywords = {page: kept["keywords"] for page, kept in env.metadata.items() if "keywords" in kept}
    path = Path(app.doctreedir) / "scorer.js"
    code = Path(__file__).with_name("search.js").read_text(encoding="utf8")
    path.write_text(f"const KEYWORDS = {json.dumps(keywords)};\n{code}", encoding="utf8")
    app.config.html_search_scorer = str(path)


def setup(app):
    app.add_search_language(SearchNumbered)
    app.connect("doctree-read", note_keywords)
    app.connect("env-updated", write_scorer)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
