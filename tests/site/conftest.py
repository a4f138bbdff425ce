"""The browser that opens the built site."""

import os
import shutil
import subprocess
import sys

import pytest
from playwright.sync_api import Error, sync_playwright
from repo import SITE

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def launch(chromium):
    """A Chromium that is installed, else playwright's own, fetched if need be."""
    installed = next(filter(None, map(shutil.which, NAMES)), None)
    arguments = ["--no-sandbox", "--disable-gpu"]
    if installed:
        return chromium.launch(executable_path=installed, args=arguments)
    try:
        return chromium.launch(args=arguments)
    except Error:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], capture_output=True, timeout=300)
        return chromium.launch(args=arguments)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        try:
            browser = launch(playwright.chromium)
        except (Error, OSError, subprocess.TimeoutExpired) as error:
            why = f"no browser: none of {', '.join(NAMES)} is there, and playwright has none: {str(error)[:99]}"
            if os.environ.get("DGM_REQUIRE_BROWSER") == "1":
                pytest.fail(why)
            pytest.skip(why)
        yield browser
        browser.close()


DESK = {"width": 1280, "height": 900}
FORGET = "() => { localStorage.clear(); sessionStorage.clear(); }"


@pytest.fixture(scope="module")
def window(browser):
    """The window of a module's plain visits, one after the other: what pages share is read and compiled once."""
    context = browser.new_context(viewport=DESK, offline=True)
    yield context.new_page()
    context.close()


@pytest.fixture
def visit(browser, window):
    """``visit(page, mode) -> (open page, what the browser complained of)``, from disk and without a network.

    A ``script`` runs before those of the page; other options are the browser context's. ``visit.requested`` holds the
    addresses that the page last visited has asked for.
    """
    contexts, heard = [], []

    def listen(page, event, hear):
        page.on(event, hear)
        heard.append((page, event, hear))

    def visit(name, mode="light", script=None, **options):
        path, mark, query = name.partition("?")
        if not (SITE / path).is_file():
            pytest.fail(f"{SITE / path} is missing: run `make book`")
        if script or options or heard:  # a second page of a test, or one of another kind, has a window of its own
            context = browser.new_context(**{"viewport": DESK, "color_scheme": mode, "offline": True, **options})
            contexts.append(context)
            if script:
                context.add_init_script(script)
            page = context.new_page()
        else:
            page = window
            page.set_viewport_size(DESK)
            page.emulate_media(media="null", color_scheme=mode, reduced_motion="null")
        complaints, requested = [], set()
        visit.requested = requested
        listen(page, "console", lambda m: m.type == "error" and complaints.append(f"console: {m.text}"))
        listen(page, "pageerror", lambda e: complaints.append(f"script: {e}"))
        listen(page, "requestfailed", lambda r: complaints.append(f"failed: {r.url}"))
        listen(page, "request", lambda r: requested.add(r.url))
        listen(
            page,
            "request",
            lambda r: not r.url.startswith(("file:", "data:", "blob:")) and complaints.append(f"external: {r.url}"),
        )
        page.goto((SITE / path).as_uri() + mark + query)
        return page, complaints

    yield visit
    for page, event, hear in heard:
        page.remove_listener(event, hear)
    for context in contexts:
        context.close()
    if window.url != "about:blank":
        window.evaluate(FORGET)
        window.goto("about:blank")
