"""The page of a sweep: what is on it, and a browser that clicks through it."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from runners import rows, told

import invert_jax as ij
from experiments import report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def page(gray):
    report.write_page(gray)
    return gray / "report.html"


def test_the_page_needs_nothing_but_itself(page, gray):
    text = page.read_text()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert addresses and all(address.startswith(("data:", "#")) for address in addresses)
    assert "http" not in re.sub(r"data:[^\"]*", "", text)
    pictures = re.findall(r"<img src[^>]*>", text)
    assert len(pictures) == 4 + 2 * 3 * (1 + 3 + 7 + 2)  # curves; photograph, restarts, mean and bands, plots
    assert all(re.search(r'alt="[^"]{12,}"', picture) for picture in pictures)
    for row in rows(gray / "invariance"):
        assert row[1] in text  # the table's intervals
    assert "python -m experiments.report" in text
    assert "python -m experiments.sample_invariances" in text and "python -m experiments.invariance_curves" in text
    assert text.index('id="problem-hog"') < text.index('id="problem-hogb"')


@pytest.fixture
def one(gray, tmp_path):
    """A sweep of one photograph and representation, under an odd name."""
    odd = tmp_path / "<b>odd & strange"
    shutil.copytree(gray, odd)
    for path in [*odd.glob("restarts/*/*.npz"), *odd.glob("invariance/table.md")]:
        if path.parts[-2:] != ("hog", "chelsea.npz"):
            path.unlink()
    return odd


def test_what_else_was_measured_there_is_on_the_page(one):
    room = one / "geometry"
    room.mkdir()
    (room / "table.md").write_text("| layer | length |\n|---|---|\n| hog | 12.3 |\n\nhog: twice as far apart.\n")
    (room / "results.json").write_text(json.dumps({"command": ["invariance_geometry.py", "--bound=2"]}))
    ij.save_image(room / "path.png", ij.example_image("coffee", size=32))
    report.write_page(one)
    text = (one / "report.html").read_text()
    section = text[text.index('<section id="geometry">') :].partition("</section>")[0]
    assert "12.3" in section and "hog: twice as far apart." in section and section.count("<img") == 1
    assert 'href="#geometry"' in text and "python -m experiments.invariance_geometry --bound=2" in text
    assert 'id="receptive_fields"' not in text


def test_names_are_escaped(one):
    odd = one
    report.write_page(odd)
    text = (odd / "report.html").read_text()
    assert "<b>odd" not in text and "&lt;b&gt;odd &amp; strange" in text


def test_folders_without_a_sweep_are_told(tmp_path):
    with pytest.raises(ValueError, match="Name the folder"):
        report.main()
    with pytest.raises(FileNotFoundError, match="not the work folder of a sweep"):
        report.write_page(tmp_path)


def test_pictures_are_shared_out_and_numbers_of_fewer_restarts_are_told(gray, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(gray, copied)
    results = told(copied)
    (copied / "invariance" / "results.json").write_text(json.dumps({**results, "num_restarts": 2}))
    report.write_page(copied, num_shown=2)
    text = (copied / "report.html").read_text()
    assert "Measured when there were 2 restarts of each, not 3: run it again." in text
    assert text.count("<img src") == 4 + 2 * 1 * (1 + 3 + 7 + 2)
    assert text.count("Pictures are of the first 1 photographs of 3.") == 2
    assert len(text) < 1.5e6
    report.write_page(gray)
    assert "run it again" not in (gray / "report.html").read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open the page in (apt install chromium)")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_opens_it_and_clicks_through(page, width, scheme):
    from playwright import sync_api

    with sync_api.sync_playwright() as browsers:
        unboxed = ["--no-sandbox"] if os.geteuid() == 0 else []
        options = ["--disable-gpu", "--disable-background-networking", "--no-first-run", *unboxed]
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=options)
        shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        complaints = []
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.goto(page.as_uri())

        def ground():
            return shown.evaluate("getComputedStyle(document.body).backgroundColor")

        def luminous(color):
            return np.mean([int(part) for part in re.findall(r"\d+", color)[:3]]) > 128

        assert luminous(ground()) == (scheme == "light")
        shown.click("#theme")
        assert luminous(ground()) == (scheme == "dark")
        for link in shown.query_selector_all("nav a"):
            link.click()
            assert shown.evaluate("document.querySelector(location.hash) !== null")
        for summary in shown.query_selector_all("details:not([open]) > summary"):
            summary.click()
        assert shown.evaluate("document.querySelectorAll('details:not([open])').length") == 0
        shown.evaluate("document.querySelectorAll('img[src]').forEach(image => image.loading = 'eager')")
        shown.wait_for_function("[...document.querySelectorAll('figure img')].every(image => image.naturalWidth > 0)")
        widths = "[...document.querySelectorAll('tbody th')].map(cell => cell.clientWidth)"
        assert max(shown.evaluate(widths)) < 0.5 * width
        shown.click("figure img >> nth=0")
        assert shown.is_visible("#large") and shown.inner_text("#large p") != ""
        plot = "[...document.querySelectorAll('#large img')].map(image => [image.clientWidth, image.naturalWidth])[0]"
        assert np.ptp(shown.evaluate(plot)) == 0  # at its own size, whatever the screen's
        shown.click("#large button")
        assert not shown.is_visible("#large")
        shown.focus("figure button >> nth=-1")
        shown.keyboard.press("Enter")
        assert shown.is_visible("#large")
        shown.keyboard.press("Escape")
        assert not shown.is_visible("#large")
        assert shown.evaluate("document.documentElement.scrollWidth") <= width  # nothing to scroll sideways on a phone
        assert complaints == []
        browser.close()


def test_the_page_is_written_whole_or_not_at_all(one, monkeypatch):
    (one / "report.html").write_text("before")
    monkeypatch.setattr(os, "replace", lambda *given: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        report.write_page(one)
    assert (one / "report.html").read_text() == "before" and not list(one.glob(".*.tmp"))
