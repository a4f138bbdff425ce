"""The sidebar's folds have names: the theme's button that shows the runs of a page is an arrow without a word."""

from sphinx.errors import ExtensionError


def name_folds(app, pagename, templatename, context, doctree):
    """Let the theme's function return a sidebar in which each arrow says to a screen reader what it unfolds."""
    generate = context["generate_toctree_html"]

    def named(*args, **options):
        sidebar = generate(*args, **options)
        arrows = sidebar.select("li > details > summary")
        below = app.env.toctree_includes
        if not arrows and any(page in below for page in below[app.config.root_doc]):
            raise ExtensionError("the theme's sidebar has no folds to name: see dgm_sidebar.py")
        for arrow in arrows:
            arrow["aria-label"] = f"Below: {arrow.find_parent('li').a.get_text(strip=True)}"
        return sidebar

    context["generate_toctree_html"] = named


def setup(app):
    app.connect("html-page-context", name_folds, priority=900)  # after the theme's
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
