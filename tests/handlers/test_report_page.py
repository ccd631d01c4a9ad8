"""The page of a run: whole in one file, and only text, as a browser shows it."""

import json
import re

import pytest
from ignite.engine import Engine

from handlers import RunRecord, create_run
from handlers.report_page import write_report_page
from tests.support.browser import CHROMIUM, DRIVER, chromium

MARKUP = "<script>document.title = 'owned'</script> & <b>bold</b>"


@pytest.fixture
def described(tmp_path):
    """A run's directory with markup wherever there is text of somebody else's."""
    directory = create_run(tmp_path / "run", {"options": {"data_root": MARKUP, "epochs": 2, "resume": None}})
    trainer = Engine(lambda engine, batch: None)
    record = RunRecord(directory, dataset={"name": "x", "notice": MARKUP}, report=False).attach(trainer)
    with record:
        trainer.run([1, 2], max_epochs=2)
    (directory / "mistakes.json").write_text(
        json.dumps({"classes": [MARKUP, "night"], "confusion": [[3, 1], [0, 4]], "most_confident_errors": []})
    )
    return directory


def test_it_needs_no_other_file_and_no_network(described):
    page = write_report_page(described).read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "<script" not in page
    assert "3 of 4 right" in page


def test_a_name_in_no_encoding_is_shown_escaped(tmp_path):
    directory = tmp_path / "run\udcff"
    directory.mkdir()
    (directory / "summary.json").write_text('{"status": "completed"}')
    assert r"run\udcff" in write_report_page(directory).read_text()


def test_a_summary_without_anything_else_is_enough(tmp_path):
    (tmp_path / "summary.json").write_text('{"status": "completed"}')
    assert "completed" in write_report_page(tmp_path).read_text()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no chromium, no chromedriver")
@pytest.mark.draws_reports
def test_a_browser_shows_verdict_figures_and_picture_as_they_are(described, undisturbed, tmp_path):
    with chromium(tmp_path / "profile") as browser:
        browser.open(write_report_page(described).as_uri())
        text = browser.evaluate("document.body.innerText")
        assert text.count("<script>document.title = 'owned'</script> & <b>bold</b>") >= 2
        assert browser.evaluate("document.title") == "run"
        browser.open((undisturbed / "report.html").as_uri())
        text = browser.evaluate("document.body.innerText")
        assert json.loads((undisturbed / "summary.json").read_text())["timing"]["diagnosis"] in text
        assert "airplane" in text
        width = browser.evaluate("document.querySelector('img').naturalWidth")
        assert width > 500
        browser.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 10_000
