"""The book's address, found when the site is built: launch buttons and the site's own address. Without one, neither."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import repository


def set_address(app, config):
    """The buttons open the branch ``launch``, which tools/launch_branch.py keeps."""
    url, options = repository.address(app.srcdir), config.html_theme_options
    options |= {"repository_url": url, "repository_branch": repository.BRANCH}
    # a text may say {{ repository }}
    config.myst_substitutions["repository"] = f"[the repository]({url})" if url else "the repository"
    if url:
        config.html_baseurl = config.html_baseurl or repository.pages(url)
    else:
        options.pop("launch_buttons", None)  # the theme would stop the build


def edit_main(app):
    """Links to edit a page lead to ``main``: the theme took the launch buttons' branch for them too."""
    app.config.html_context["github_version"] = "main"


def setup(app):
    app.connect("config-inited", set_address, priority=400)  # before the extensions that need the site's address
    app.connect("builder-inited", edit_main, priority=900)  # after the theme
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
