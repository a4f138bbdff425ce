"""Slimmer pages, which look and read the same: fewer elements and bytes for the browser to work through."""

import re

from sphinx.errors import ExtensionError

RULE = re.compile(r'html\[data-theme="?(\w+)"?\] \.highlight(?: \.(\w+))? ?\{([^}]*)\}')
COLOUR = re.compile(r"(?:^|;)\s*color:\s*([^;\s]+)\s*(?=;|$)")
CODE = re.compile(r'(?P<open><div class="highlight"><pre)>(?P<code>.*?)(?P<close></pre>)', re.DOTALL)
TOKEN = re.compile(r'<span class="(?P<kind>\w+)">(?P<text>[^<]*)</span>|<span></span>|(?P<bare>[^<]+)')
AS_IS = re.compile(r"(<(pre|script|textarea)\b.*?</\2>)", re.DOTALL)
# the theme measures everything that might scroll, at once and at every change; page.js does, but where the reader is
TAB_STOPS = re.compile(r'(function \w+\(\)\{)(const e=\(\)=>\{document\.querySelectorAll\(\["pre",)')


def looks_of(css):
    """For each kind of token of a Pygments style sheet its colours in all themes; for ``""`` those of plain code.

    Kinds that differ in more than their colour are left out.
    """
    found = {}
    for theme, kind, style in RULE.findall(css):
        colour = COLOUR.search(style)
        only = not kind or re.fullmatch(r"\s*color:[^;]*;?\s*", style)
        found.setdefault(kind, {})[theme] = colour[1] if colour and only else None
    return {kind: look for kind, look in found.items() if look.keys() == found[""].keys() and None not in look.values()}


def fewer_spans(code, looks):
    """Highlighted code with a span only where its colour changes; as it is, if it holds more than spans and text."""
    tokens = list(TOKEN.finditer(code))
    if sum(len(token[0]) for token in tokens) != len(code):
        return code
    runs = []  # pairs: kind, text
    for token in tokens:
        kind, text = token["kind"] or "", token["text"] or token["bare"] or ""
        look, last = looks.get(kind, kind), runs[-1][0] if runs else None
        colourless = text.isspace() and last in looks and kind in looks
        if runs and (looks.get(last, last) == look or colourless):
            runs[-1][1] += text
        elif text:
            runs.append(["" if look == looks[""] else kind, text])
    slim = "".join(f'<span class="{kind}">{text}</span>' if kind else text for kind, text in runs)
    return "\n" + slim if slim.startswith("\n") else slim  # the first line break of a <pre> is not shown


def slim_code(text, looks):
    """All code of a page with fewer spans, each block with its number of lines: its height, before it is drawn."""

    def replace(match):
        lines = match["code"].rstrip("\n").count("\n") + 1
        look = ' class="dgm-code"' if "<span class=" in match["code"] else ""  # plain code has the colour of a name
        slim = fewer_spans(match["code"], looks)
        return f'{match["open"]}{look} style="--lines:{lines}">{slim}{match["close"]}'

    return CODE.sub(replace, text)


def slim_space(text):
    """A page without indentation and empty lines, but where they are shown."""
    parts = AS_IS.split(text)  # what is between, what is kept, its tag, what is between, ...
    for i in range(0, len(parts), 3):
        parts[i] = re.sub(r"[ \t]*\n\s*", "\n", parts[i])
    return "".join(part for i, part in enumerate(parts) if i % 3 != 2)


def one_keeper_of_tab_stops(script):
    """The theme's script without its measuring of what scrolls. Raises ExtensionError if it is another script."""
    script, found = TAB_STOPS.subn(r"\1return;\2", script)
    if found != 1 and not re.search(r"function \w+\(\)\{return;const e=\(\)=>", script):
        raise ExtensionError("the theme's script no longer measures what scrolls where it did: see page.js")
    return script
