"""Whatever the files of a run say, it hides no other run, and what can be shown of it is."""

import json
import struct

import pytest

from ignite_pipeline.board import following
from ignite_pipeline.board.following import RunFollower, follow
from tests.support.board_runs import (
    EPOCHS,
    LOST,
    SAMPLE,
    SHOWN,
    as_lines,
    compared,
    epoch,
    holding,
    shown,
    write_run,
)
from tests.support.visdom_process import unused_port

DEEP = "[" * 100_000


@pytest.fixture
def good(tmp_path):
    return write_run(tmp_path / "task" / "good")


@pytest.fixture
def bad(tmp_path):
    return write_run(tmp_path / "task" / "bad")


BEST = {"metric": "val/loss", "value": 0.5, "epoch": 2}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        *(("config.json", text, "it holds no object") for text in ("[]", "5", "null", "NaN", '"x"')),
        ("config.json", DEEP, "RecursionError"),
        *(("config.json", json.dumps({"dataset": value}), "AttributeError") for value in ("x", [1], 5)),
        *(("summary.json", text, "it holds no object") for text in ("[]", "5", "null", "NaN", '"x"')),
        ("summary.json", DEEP, "RecursionError"),
        ("summary.json", "{}", "KeyError: 'status'"),
        *(
            ("summary.json", json.dumps({"status": "completed", **part}), reason)
            for part, reason in (
                ({"best": 5}, "TypeError"),
                ({"best": "x"}, "TypeError"),
                ({"best": []}, None),
                ({"best": {}}, None),
                ({"best": {**BEST, "value": "low"}}, "format code"),
                ({"best": {**BEST, "value": None}}, "TypeError"),
                ({"best": {**BEST, "value": 10**1000}}, "OverflowError"),
                ({"best": {**BEST, "value": float("inf")}}, None),
                ({"best": {**BEST, "metric": "x" * 10**6}}, None),
                ({"timing": []}, None),
                ({"timing": [1]}, "AttributeError"),
                ({"timing": {"diagnosis": {"a": []}}}, None),
            )
        ),
        (SAMPLE, b"", "not a PNG image"),
        (SAMPLE, b"\x89PNG\r\n\x1a\n", "not a PNG image"),
        *(
            (
                SAMPLE,
                b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", *size),
                f"{size[0]} x {size[1]}",
            )
            for size in ((100_000, 100_000), (0, 8), (8, 0), (2**32 - 1, 2**32 - 1))
        ),
    ],
)
def test_content_may_be_anything(good, bad, name, content, reason, capsys):
    holding(content)(bad / name)
    windows = shown(follow(lambda: [bad, good], unused_port()), rounds=3)
    part = name.partition("/")[0]
    assert windows == {"task_bad": SHOWN - LOST.get(part, set()), "task_good": SHOWN} | compared(part)
    said = capsys.readouterr().err
    assert said.count("\n") == (reason is not None)
    assert said.startswith(f"{bad}: {part}: ") == (reason is not None)
    assert (reason or "") in said


@pytest.mark.parametrize(
    ("lines", "is_damage"),
    [
        *(([text], True) for text in ("[]", "5", "null", '"x"', "{}", DEEP, "\0", '{"kind": "epoch"}')),
        ([epoch(4, **{"time/fetch_s": "abc"})], True),
        ([epoch(4, **{"val/loss": [1]})], True),
        ([epoch(4, **{"val/loss": {"x": 1}})], True),
        ([epoch(-1)], True),
        ([{**epoch(4), "epoch": 1.5}], True),
        ([{**epoch(4), "kind": []}], True),
        ([epoch(4, **{"val/loss": 10**400})], False),
        (['{"kind": "epoch", "epoch": 4, "iteration": 40, "val/loss": 1e999, "time/fetch_s": NaN}'], False),
        (['{"kind": "epoch", "epoch": 4, "iteration": 40, "val/loss": -Infinity, "time/x_s": 1e999}'], False),
        ([f'{{"kind": "epoch", "epoch": 4, "iteration": 40, "val/loss": {"9" * 5000}}}'], True),
        ([epoch(number, **{"val/loss": 1.0, "time/fetch_s": 1e308}) for number in (9, 1, 8, 2, 1, 1)], False),
        ([epoch(4, **{f"{x}_{y}/{y}": 1.0 for y in range(100)}) for x in range(1000)], True),
        ([epoch(4, **{f"time/{x}_{y}_s": 1.0 for y in range(100)}) for x in range(1000)], False),
        ([epoch(4, **{"val/" + "x" * 10**6: 1.0})], True),
        ([epoch(4, **{"x" * 2**21: 1.0})], True),
        ([epoch(4, **{"val/\0\x1b[31m\r\n\x7f": 1.0, "\ud800": 1.0, "": 1.0, "/": 1.0, "//": 1.0})], False),
        ([epoch(4, **dict.fromkeys(("text/run", "image/samples", "time/", "time/_s"), 1.0))], False),
    ],
)
def test_metrics_may_be_anything(good, bad, lines, is_damage, capsys):
    with open(bad / "metrics.jsonl", "a") as file:
        file.write(as_lines(*lines, epoch(50, **{"val/loss": 7.0})))
    windows = follow(lambda: [bad, good], unused_port())
    ids = shown(windows)
    assert ids["task_good"] == SHOWN
    assert ids["task_bad"] >= SHOWN
    assert len(ids["task_bad"]) < 310
    assert windows()["task_bad", "loss"].traces["validation"].points()[-1] == (500, 7.0)
    said = capsys.readouterr().err
    assert said.count("\n") == is_damage
    assert said.startswith(f"{bad}: metrics.jsonl: ") == is_damage


def test_many_metrics_are_bounded_and_the_board_says_so(good, bad):
    lines = [epoch(4, **{f"val/{x}": 1.0}) for x in range(1000)]
    (bad / "metrics.jsonl").write_text(as_lines(*lines))
    windows = follow(lambda: [bad, good], unused_port())()
    assert len([name for environment, name in windows if environment == "task_bad"]) == 300 + 3
    assert windows["task_bad", "text/left out"].text.startswith("There are more metrics: 300 curves")
    assert "metrics.jsonl: it holds more metrics" in windows["task_bad", "text/run"].text


def test_metrics_are_read_in_pieces_and_a_line_of_any_length_ends(bad, monkeypatch):
    monkeypatch.setattr(following, "_MOST_METRICS_BYTES", 150)
    lines = as_lines(
        *EPOCHS, {**epoch(4), "x" * 1000: 1.0}, *(epoch(n, **{"val/loss": n}) for n in range(5, 9))
    )
    (bad / "metrics.jsonl").write_text(lines)
    follower = RunFollower(bad)
    offsets = [(follower.update(), follower._offset)[1] for _ in range(20)]
    assert offsets[-1] == len(lines)
    assert max(after - before for before, after in zip([0, *offsets], offsets)) <= 150  # noqa: B905
    points = follower.windows.windows["loss"].traces["validation"].points()
    assert [x for x, _ in points] == [10, 20, 30, 50, 60, 70, 80]


@pytest.mark.parametrize(
    "config",
    [
        *({"options": options} for options in ({}, None, 5, [], {"visdom": None}, {"visdom": 5})),
        *({"options": {"visdom": url}} for url in ("http://[::1", "http://x:y", "http://x:99999", "", "off")),
        {},
    ],
)
def test_a_run_that_goes_on_with_odd_options_is_shown(good, bad, config, monkeypatch):
    monkeypatch.setattr(following, "is_locked", lambda directory: directory == bad)
    (bad / "config.json").write_text(json.dumps(config))
    windows = shown(follow(lambda: [bad, good], unused_port()))
    assert windows["task_good"] == windows["task_bad"] == SHOWN
