"""The calculator's page, in a real browser: Debian's Chromium, driven over the W3C WebDriver protocol."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request

import pytest

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's reference: W3C WebDriver, section 12


class Browser:
    """One window of a headless Chromium."""

    def __init__(self, driver):
        self.driver = driver
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
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

    def type(self, text):
        """Write an expression into the field and press Enter."""
        field = self.find("input")
        self("POST", f"/element/{field}/clear", {})
        self("POST", f"/element/{field}/value", {"text": f"{text}\ue007"})

    def run(self, script):
        """Return what a script in the page returns."""
        return self("POST", "/execute/sync", {"script": script, "args": []})

    def answer(self, kind):
        """Return the text of the answer, once there is one of this kind."""
        script = f"return document.querySelector('output.{kind}')?.textContent"
        give_up = time.monotonic() + 30
        while not (text := self.run(script)):
            assert time.monotonic() < give_up, self.run("return document.body.innerHTML")
            time.sleep(0.05)
        self.run("document.querySelector('output').className = ''")
        return text

    def labels(self):
        """Return the drawn texts: hosts and steps."""
        return self.run("return [...document.querySelectorAll('svg text')].map((text) => text.textContent)")


@pytest.fixture(scope="module")
def browser():
    assert shutil.which("chromedriver"), "chromedriver is not installed: scripts/setup-services"
    with subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        line = ""
        while "started successfully on port" not in line:
            line = process.stdout.readline()
            assert line, "chromedriver does not start"
        window = Browser("http://127.0.0.1:" + line.split()[-1].rstrip("."))
        try:
            yield window
        finally:
            window("DELETE", "")
            process.terminate()


@pytest.fixture
def page(browser, services):
    browser("POST", "/url", {"url": services["calculator"].url})
    return browser


def test_answer_and_steps(page):
    """The answer, and a bar for each step with its service, host, operands and result."""
    page.type("(1+2)*(3+4)/7")
    assert page.answer("answer") == "result = 3"
    host = subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip()
    drawn = page.labels()
    assert [text for text in drawn if " on " in text] == [f"{name} on {host}" for name in ("sum", "mul", "div")]
    steps = [text.partition(" (")[0] for text in drawn if " = " in text]
    assert sorted(steps) == ["1 + 2 = 3", "21 \u00f7 7 = 3", "3 + 4 = 7", "3 \u00d7 7 = 21"]
    assert page.run("return document.querySelectorAll('svg rect.step').length") == 4


def test_error_is_shown_as_text(page):
    """A refusal is the line that the service gave; what was typed never becomes markup."""
    page.type("5+<b>x</b>")
    assert page.answer("error") == "column 3: expected a number or '(' after '+', found '<b>x<'"
    assert page.run("return document.querySelectorAll('output *, svg *').length") == 0


def test_no_step(page):
    """A bare number needs no service."""
    page.type("7")
    assert page.answer("answer") == "result = 7"
    assert page.labels() == []


def test_policy_holds(page, services):
    """Nothing but the page's own script and style runs, and these broke no rule of the policy."""
    page("POST", "/se/log", {"type": "browser"})  # what earlier pages left
    page.type("2*3")
    assert page.answer("answer") == "result = 6"
    assert page("POST", "/se/log", {"type": "browser"}) == []
    page.run("document.body.append(Object.assign(document.createElement('script'), {text: 'window.injected = 1'}))")
    assert page.run("return window.injected ?? null") is None
    refused = [entry["message"] for entry in page("POST", "/se/log", {"type": "browser"})]
    assert len(refused) == 1
    assert "Content Security Policy" in refused[0]
    _, _, headers = services["calculator"].ask(None, "GET", "/")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
