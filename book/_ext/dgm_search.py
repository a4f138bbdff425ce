"""Search that knows ``8.11`` and ``B4.2`` as words: Sphinx splits at the dot, and then leaves out bare numbers."""

import re

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


def setup(app):
    app.add_search_language(SearchNumbered)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
