"""Launch buttons need the repository's address: without one there are none (the theme would stop the build)."""


def without_address(app, config):
    options = config.html_theme_options
    if not options.get("repository_url"):
        options.pop("launch_buttons", None)


def setup(app):
    app.connect("config-inited", without_address)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
