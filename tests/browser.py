"""A real browser for tests: Debian's Chromium, driven over the W3C WebDriver protocol."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's reference: W3C WebDriver, section 12


class Browser:
    """One window of a headless Chromium."""

    def __init__(self, driver, *more):
        self.driver = driver
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *more]
        wanted = {"browserName": "chrome", "goog:chromeOptions": {"args": arguments}}
        wanted["goog:loggingPrefs"] = {"browser": "ALL"}
        self.session = ""
        opened = self("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{opened['sessionId']}"

    def __call__(self, method, path, body=None):
        """Return the value of one command's answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.driver}{self.session}{path}", data, method=method)  # noqa: S310  http
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)["value"]

    def find(self, selector):
        """Return the one element that a CSS selector finds."""
        return self("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def run(self, script):
        """Return what a script in the page returns."""
        return self("POST", "/execute/sync", {"script": script, "args": []})


@contextmanager
def opened(kind, *more):
    """Start one of this class, with more of Chromium's arguments; close it after the block."""
    assert shutil.which("chromedriver"), "chromedriver is not installed: scripts/setup-services"
    with subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        line = ""
        while "started successfully on port" not in line:
            line = process.stdout.readline()
            assert line, "chromedriver does not start"
        window = kind("http://127.0.0.1:" + line.split()[-1].rstrip("."), *more)
        try:
            yield window
        finally:
            window("DELETE", "")
            process.terminate()
