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


@pytest.fixture
def visit(browser):
    """``visit(page, mode) -> (open page, what the browser complained of)``, from disk and without a network.

    A ``script`` runs before those of the page; other options are the browser context's. ``visit.requested`` holds the
    addresses that the page last visited has asked for.
    """
    contexts = []

    def visit(name, mode="light", script=None, **options):
        path, mark, query = name.partition("?")
        if not (SITE / path).is_file():
            pytest.fail(f"{SITE / path} is missing: run `make book`")
        options = {"viewport": {"width": 1280, "height": 900}, "color_scheme": mode, "offline": True, **options}
        context = browser.new_context(**options)
        if script:
            context.add_init_script(script)
        contexts.append(context)
        page, complaints = context.new_page(), []
        page.on("console", lambda m: m.type == "error" and complaints.append(f"console: {m.text}"))
        page.on("pageerror", lambda e: complaints.append(f"script: {e}"))
        page.on("requestfailed", lambda r: complaints.append(f"failed: {r.url}"))
        requested = visit.requested = set()
        page.on("request", lambda r: requested.add(r.url))
        page.on(
            "request",
            lambda r: not r.url.startswith(("file:", "data:", "blob:")) and complaints.append(f"external: {r.url}"),
        )
        page.goto((SITE / path).as_uri() + mark + query)
        return page, complaints

    yield visit
    for context in contexts:
        context.close()
