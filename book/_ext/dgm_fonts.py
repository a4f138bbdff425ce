"""The typeface of the site, on every system the same: Source Serif from its wheel, with the book's characters only."""

import logging
import shutil
from importlib.util import find_spec
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

logging.getLogger("fontTools").setLevel(logging.WARNING)
FAMILY = "DGM Serif"  # the licence reserves the name "Source" for the unchanged files
FACES = {"Regular": "regular", "It": "italic", "Semibold": "semibold", "SemiboldIt": "semibold-italic"}
CHARACTERS = [  # Latin with its accents, Greek, punctuation, superscripts and currencies, signs, arrows, mathematics
    *range(0x20, 0x180), *range(0x370, 0x400), *range(0x2000, 0x20D0), *range(0x2100, 0x2300), 0x2713
]  # fmt: skip


def write_face(source, style, folder):
    """Write a font file with those glyphs only as WOFF2, under another name; figures of equal width are an option."""
    features = ["ccmp", "kern", "liga", "lnum", "mark", "tnum"]
    options = subset.Options(layout_features=features, hinting=False, name_IDs=[0, 1, 2, 3, 4, 5, 6, 13, 14])
    font = TTFont(source, recalcTimestamp=False)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=CHARACTERS)
    subsetter.subset(font)
    name = f"{FAMILY} {style}"
    for identity, text in {1: FAMILY, 2: style, 3: name, 4: name, 6: name.replace(" ", "")}.items():
        font["name"].setName(text, identity, 3, 1, 0x409)
    font.flavor = "woff2"
    font.save(folder / f"{style}.woff2")


def add_fonts(app, config):
    """Put the faces, with their licence, where Sphinx takes static files from."""
    source = Path(find_spec("font_source_serif_pro").origin).parent / "files"
    static = Path(app.doctreedir).parent / "typeface"
    (static / "fonts").mkdir(parents=True, exist_ok=True)
    for face, style in FACES.items():
        write_face(source / f"SourceSerifPro-{face}.ttf", style, static / "fonts")
    shutil.copy(source / "LICENSE.txt", static / "fonts")
    config.html_static_path.append(str(static))


def setup(app):
    app.connect("config-inited", add_fonts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
