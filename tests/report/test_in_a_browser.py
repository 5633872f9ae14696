"""The report in a real browser: it asks nobody, breaks no rule of its policy, and works with a keyboard and narrow."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from browser import Browser, opened
from findings import measured, stage, wrong

from netorder.controller import records, serve
from netorder.language.load import load, parse
from netorder.report.page import page

ROOT = Path(__file__).parents[2]
TAB, ENTER = "\ue004", "\ue007"  # W3C WebDriver, section 17.4.2


class Report(Browser):
    """A report that was opened from a file."""

    def show(self, path: Path, width: int = 1200) -> None:
        self("POST", "/window/rect", {"width": width, "height": 900})
        self("POST", "/url", {"url": f"file://{path}"})

    def press(self, *keys: str) -> None:
        """Press keys, each by itself, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self("POST", "/se/log", {"type": "browser"})]


@pytest.fixture(scope="module")
def browser():
    with opened(Report) as window:
        yield window


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Write the report of a calculator in which something differs."""
    topology = load(ROOT / "topologies/calculator.yml")
    findings = measured(topology)
    wrong(findings, "calculator", "mul", 50003, "refused")
    run = {"time": "2026-01-01 10:00", "seconds": 100, "stages": [stage("Provision", 25, 50, tasks=[])]}
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(page(topology, {"verify": {"time": "now", "findings": findings}, "runs": {"site": run}}))
    return file


def test_nothing_is_asked_for_and_nothing_refused(browser, report):
    """Neither a request nor a complaint; what is injected does not get out."""
    browser.complaints()
    browser.show(report)
    assert browser.complaints() == []
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    browser.run("fetch('http://127.0.0.1:1/').catch(() => {})")
    browser.run("return new Promise((done) => setTimeout(done, 200))")
    assert any("Content Security Policy" in one for one in browser.complaints())


def test_a_click_on_a_host_opens_what_is_said_of_it(browser, report):
    browser.show(report)
    assert browser.run("return document.querySelectorAll('details.host[open]').length") == 0
    browser.run("document.querySelector('#host_mul rect').dispatchEvent(new MouseEvent('click', {bubbles: true}))")
    opened_ = "return [...document.querySelectorAll('details.host[open]')].map((one) => one.id)"
    assert browser.run(opened_) == ["host-mul"]
    assert "tcp 50003 of mul" not in browser.run("return document.querySelector('#host-mul').innerText")
    assert "calculator: tcp 50003" in browser.run("return document.querySelector('#host-mul').innerText")


def test_the_keyboard_reaches_all_of_it(browser, report):
    """TAB comes to each host in the picture; ENTER opens it, and the focus is there."""
    browser.show(report)
    focus = "const one = document.activeElement; return one.getAttribute('href') || one.parentElement.id || one.tagName"
    seen = []
    for _ in range(60):
        browser.press(TAB)
        seen.append(browser.run(focus))
        if seen[-1] == "#host-mul":
            break
    assert {"#picture", "#files", "#host-calculator"} <= set(seen)
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") != "none"
    browser.press(ENTER)
    assert browser.run("return document.querySelector('#host-mul').open")
    assert browser.run(focus) == "host-mul"
    browser.press(ENTER)
    assert not browser.run("return document.querySelector('#host-mul').open")


@pytest.mark.parametrize("width", [500, 800, 1600])
def test_no_page_is_wider_than_its_window(browser, report, width):
    """What is wide scrolls by itself."""
    browser.show(report, width)
    browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.run(wide) <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_read(report, scheme):
    """Text on its background has the contrast that WCAG 2.2 asks for (4.5), in both schemes."""
    script = """
    const channel = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const numbers = (text) => text.match(/[0-9.]+/g).map(Number);
    const ground = (one) => {
      for (; one; one = one.parentElement) {
        const found = numbers(getComputedStyle(one).backgroundColor);
        if (found.length === 3 || found[3] > 0) return found;
      }
      return [255, 255, 255];
    };
    const low = [];
    for (const one of document.querySelectorAll('h1, h2, p, li, th, td, summary, span, a, dt, dd, code')) {
      if (one.closest('svg') || !one.textContent.trim()) continue;
      const [a, b] = [light(numbers(getComputedStyle(one).color)), light(ground(one))];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (contrast < 4.5) low.push(`${one.tagName} ${one.className} ${one.textContent.slice(0, 20)} ${contrast}`);
    }
    return [matchMedia('(prefers-color-scheme: dark)').matches, low];
    """
    with opened(Report, *(["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else [])) as window:
        window.show(report)
        assert window.run(script) == [scheme == "dark", []]


def test_a_hundred_hosts_are_filtered(browser, tmp_path):
    """By name or port, as one types."""
    text = (
        "topology: large\nnetworks: {n: {cidr: 10.0.0.0/20}}\nrouters: {r: {external: true, networks: [n]}}\n"
        "hosts: {web: {network: n, count: 99}, door: {network: n, floating_ip: true}}\n"
        "allow: [{from: door, to: web, tcp: 8080}, {to: door, tcp: 22}]\n"
    )
    file = tmp_path / "large.html"
    file.write_text(page(parse(text, "large.yml"), {}))
    browser.show(file)
    field = browser.find("#filter")
    shown = "return [...document.querySelectorAll('details.host')].filter((one) => one.checkVisibility()).length"
    assert browser.run(shown) == 100
    for typed, number in (("8080", 99), ("web-7", 11), ("nobody", 0)):
        browser("POST", f"/element/{field}/clear", {})
        browser("POST", f"/element/{field}/value", {"text": typed})
        assert browser.run(shown) == number, typed
    assert browser.run("location.hash = ''; document.querySelector('a[href=\"#host-door\"]').dispatchEvent("
                       "new MouseEvent('click', {bubbles: true, cancelable: true})); "
                       "return document.querySelector('#host-door').open")  # fmt: skip


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serve the report of a topology of which a run is at work; give its address and its directory."""
    monkeypatch.delenv("OS_CLOUD", raising=False)
    directory = tmp_path / "default/calculator"
    directory.mkdir(parents=True)
    task = stage("Create <b>servers</b>", 0, 1, tasks=[])
    run = {"playbook": "site", "time": "now", "seconds": 1, "at": time.time(), "now": ["Provision"], "stages": [task]}
    records.note(run, directory)
    with serve.server(serve.Report(ROOT / "topologies/calculator.yml", tmp_path), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", directory
        server.shutdown()


def until(browser, script: str, expected: object) -> None:
    """Fail unless a script comes to return this within some seconds."""
    deadline = time.monotonic() + 10
    while (found := browser.run(script)) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_a_served_page_shows_the_run_and_then_what_it_found(browser, served):
    """Without a reload: what is open stays open. It asks nobody but its server, and nothing is refused."""
    address, directory = served
    browser.complaints()
    browser("POST", "/url", {"url": address})
    until(browser, "return (document.querySelector('#now [role=status]') || {}).textContent", "Provision")
    assert browser.run("return document.querySelectorAll('#now b').length") == 0
    width = "return parseFloat(document.querySelector('#now .bar').style.width)"
    assert 0 < browser.run(width) < 100
    browser.run("document.marked = true; document.querySelector('#host-mul').open = true")
    browser.run("document.querySelector('#host-mul summary').focus()")
    findings = measured(load(ROOT / "topologies/calculator.yml"))
    records.keep({"verify": {"time": "just measured", "findings": findings}}, directory)
    records.end(directory)
    until(browser, "return document.querySelector('header').innerText.includes('just measured')", expected=True)
    until(browser, "return document.querySelector('#now').innerText", "No run is at work.")
    assert browser.run("return [document.marked, document.querySelector('#host-mul').open]") == [True, True]
    assert browser.run("return document.activeElement.parentElement.id") == "host-mul"
    asked = "return performance.getEntriesByType('resource').map((one) => new URL(one.name).origin)"
    assert {f"{one}/" for one in browser.run(asked)} == {address}
    assert [one for one in browser.complaints() if "favicon.ico" not in one] == []
