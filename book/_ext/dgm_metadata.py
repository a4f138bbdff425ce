"""What others see of the book: cards, a sitemap, dates, files to take away.

Whatever needs the site's address (``html_baseurl``) or the repository's is left out where there is none; dgm_launch.py
looks for both.
"""

import functools
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from sphinx.errors import ExtensionError

DOWNLOADS = Path("_build") / "downloads"  # the book as one file, where it was built: see the workflow for Pages
IMAGES = {"image": "book/images/ceiling.png", "image_mini": "book/images/logo.png"}
SETTINGS = {
    "ogp_description_length": 0,  # add_card has a better one
    "ogp_social_cards": IMAGES | {"font": "DejaVu Sans", "line_color": "#2f6f9f"},
    "sitemap_url_scheme": "{link}",
    "sitemap_excludes": ["search.html", "404.html"],
}
DESCRIPTION = re.compile(r'<meta (?=[^>]*name="description")[^>]*content="([^"]*)"')


def configure(app, config):
    options = config.html_theme_options
    options["use_issues_button"] = options["use_edit_page_button"] = bool(options.get("repository_url"))
    if (app.srcdir / DOWNLOADS).is_dir():
        config.html_extra_path.append(str(app.srcdir / DOWNLOADS))
    if config.html_baseurl:
        app.connect("html-page-context", add_card)  # before that of the extension
        app.setup_extension("sphinxext.opengraph")
        app.setup_extension("sphinx_sitemap")
        for name, value in {**SETTINGS, "ogp_site_url": config.html_baseurl}.items():
            config[name] = value


def add_card(app, pagename, templatename, context, doctree):
    """Let a page's card say what its meta description says. Raises ExtensionError for a page without one."""
    if doctree is not None:
        found = DESCRIPTION.search(context["metatags"])
        if not found:
            raise ExtensionError(f"{pagename} has no description for its card")
        said = {"og:description": found[1], "og:image:alt": f"The page's title: {context['title']}"}
        context["meta"] = {**said, **(context["meta"] or {})}


def add_links(app, pagename, templatename, context, doctree):
    if doctree is not None:
        context["last_updated"] = last_commits(app.srcdir).get(app.env.doc2path(pagename, base=False))
        groups = [group for group in context["header_buttons"] if group["label"] == "download-buttons"]
        for path in sorted((app.srcdir / DOWNLOADS).glob("*")):
            said = dict.fromkeys(("text", "tooltip"), f"The whole book as {path.suffix[1:].upper()}")
            link = {"type": "link", "url": context["pathto"](path.name, 1), "icon": "fas fa-book"}
            groups[0]["buttons"].append({**link, **said, "label": "download-book"})


def mend_404(app, pagename, templatename, context, doctree):
    """The page for a wrong address is shown there, at any depth: its links must not be relative to it."""
    if pagename == "404":
        context["title"], context["pageurl"] = "No such page", None
        if app.config.html_baseurl:
            base = urlsplit(app.config.html_baseurl).path
            context["metatags"] = context.get("metatags", "") + f'<base href="{base}" />\n'


@functools.cache
def last_commits(root):
    """The day of each file's last commit; none where git cannot tell: without git or history, in a shallow clone."""

    def git(*words):
        return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True).stdout

    try:
        if git("rev-parse", "--is-shallow-repository") != "false\n":
            return {}
        log = git("-c", "core.quotepath=off", "log", "--relative", "--name-only", "--format=%x00%as")
    except (OSError, subprocess.CalledProcessError):
        return {}
    commits = [commit.split("\n") for commit in log.split("\0")]
    return {name: day for day, *names in reversed(commits) for name in names if name}


def setup(app):
    app.connect("config-inited", configure, priority=700)  # after dgm_launch; Sphinx looks at the paths at 800
    app.connect("html-page-context", mend_404, priority=400)  # before its title is used
    app.connect("html-page-context", add_links, priority=600)  # after the theme's buttons
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
