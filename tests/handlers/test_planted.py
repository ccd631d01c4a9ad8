"""Whatever is slow is found and named; the table in docs/diagnosis.md is what this finds.

With ``UPDATE_DOCS=1`` it writes it anew.
"""

import os
import re
from functools import partial
from pathlib import Path

import pytest

from tests.handlers.test_timing_verdict import CASES as SIMPLE
from tests.handlers.test_timing_verdict import timed
from tests.support.planted import CASES, Planted

PAGE = Path(__file__).parents[2] / "docs" / "diagnosis.md"
ALL = [
    Planted(
        what,
        case.verdict,
        case.culprit,
        case.share or (case.fetch_share if case.verdict == "data-bound" else None),
        partial(lambda case: timed(case)[0].findings(), case),
    )
    for what, case in SIMPLE.items()
] + CASES


def found_in(case):
    """Return the finding of a case's kind, who it names, and with which share."""
    findings = case.found()
    bound = [finding for finding in findings if finding.kind.endswith(("bound", "balanced", "to say"))]
    finding = next(finding for finding in findings if finding.kind == case.kind)
    assert finding in bound[:1] or not case.kind.endswith("bound")
    in_words = re.search(r", (\d+) %$", finding.words)
    share = float(in_words[1]) / 100 if in_words else finding.share
    culprit = re.sub(r" \(.*", "", finding.culprit or "") or None
    return finding, culprit, share


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.what)
def test_what_is_planted_is_found_with_its_culprit_and_its_share(case):
    _, culprit, share = found_in(case)
    assert culprit == case.culprit
    assert share == (case.share if case.share is None else pytest.approx(case.share, abs=0.02))


def row(case):
    finding, culprit, share = found_in(case)
    name = "–" if culprit is None else f"`{culprit}`"
    shares = ["–" if value is None else f"{100 * value:.0f} %" for value in (case.share, share)]
    return f"| {case.what} | {finding.kind} | {name} | {shares[0]} | {shares[1]} |"


def test_the_page_has_what_was_found():
    head, _, rest = PAGE.read_text().partition("| planted |")
    _, _, tail = rest.partition("\n\n")
    lines = ["| planted | found | named | its share | found |", "|---|---|---|---|---|", *map(row, ALL)]
    page = head + "\n".join(lines) + "\n\n" + tail
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page
