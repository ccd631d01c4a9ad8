"""A broken run hides no other: whatever lies in its directory, all others are shown as always."""

import json
import os
import signal
import struct
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from handlers.run_windows import run_environment
from handlers.visdom_windows import safe_name
from ignite_pipeline.board import following
from ignite_pipeline.board.following import RunFollower, follow
from tests.support.visdom_process import VisdomProcess, unused_port

EPOCHS = [
    {"kind": "epoch", "epoch": epoch, "iteration": 10 * epoch, "val/loss": 1 / epoch, "time/fetch_s": 0.5}
    for epoch in (1, 2, 3)
]
SHOWN = {"text/run", "loss", "time/", "image/samples"}
LOST = {"metrics.jsonl": {"loss", "time/"}, "samples": {"image/samples"}, ".": SHOWN - {"text/run"}}
DEEP = "[" * 100_000
SAMPLE = "samples/epoch_0001.png"


def as_lines(*records):
    return "".join(f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records)


def write_run(directory):
    (directory / "samples").mkdir(parents=True)
    Image.new("RGB", (8, 4)).save(directory / SAMPLE)
    (directory / "metrics.jsonl").write_text(as_lines(*EPOCHS))
    (directory / "summary.json").write_text(json.dumps({"status": "completed", "timing": None, "best": None}))
    (directory / "config.json").write_text(json.dumps({"options": {"visdom": "auto"}, "dataset": None}))
    (directory / ".lock").write_text("1")
    return directory


@pytest.fixture
def good(tmp_path):
    return write_run(tmp_path / "task" / "good")


@pytest.fixture
def bad(tmp_path):
    return write_run(tmp_path / "task" / "bad")


@contextmanager
def within(seconds):
    """Raise ``TimeoutError`` in what would else wait for ever."""

    def give_up(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refuse(constant):
    raise ValueError(f"{constant} is no JSON")


def shown(update, rounds=2):
    """Return the ids of the windows that are there after some rounds, by environment; all must be JSON."""
    with within(60):
        for _ in range(rounds):
            windows = update()
        contents = {key: f"{{{window.content()}}}" for key, window in windows.items()}
    ids = {}
    for (environment, name), content in contents.items():
        json.loads(content, parse_constant=refuse)
        assert len(content) < 2**24
        ids.setdefault(environment, set()).add(name)
    return ids


def remove(path):
    if path.is_dir():
        for inner in path.iterdir():
            inner.unlink()
        path.rmdir()
    else:
        path.unlink()


def make_fifo(path):
    remove(path)
    os.mkfifo(path)


def make_folder(path):
    remove(path)
    path.mkdir()


def link_to(target):
    def link(path):
        remove(path)
        path.symlink_to(target)

    return link


def make_sparse(path):
    remove(path)
    with open(path, "wb") as file:
        file.truncate(2**40)


def holding(content):
    def write(path):
        if path.is_dir():
            remove(path)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def forbid(path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path.chmod(0)


KINDS = {
    "FIFO": make_fifo,
    "folder": make_folder,
    "endless device": link_to("/dev/zero"),
    "empty device": link_to("/dev/null"),
    "dangling link": link_to("nowhere"),
    "link to itself": lambda path: link_to(path.name)(path),
    "1 TB of zeros": make_sparse,
    "garbage": holding(bytes(range(256)) * 100),
    "no permission": forbid,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "summary.json", SAMPLE, "samples", ".lock"])
def test_a_file_may_be_anything(good, bad, name, kind, capsys):
    if (name, kind) == ("samples", "folder"):
        pytest.skip("it is one")
    KINDS[kind](bad / name)
    windows = shown(follow(lambda: [bad, good], unused_port()))
    part = name.partition("/")[0]
    assert windows == {"task_bad": SHOWN - LOST.get(part, set()), "task_good": SHOWN} | compared(part)
    said = capsys.readouterr().err
    assert said.startswith(f"{bad}: {part}: ") == (name != ".lock")
    assert said.count("\n") == (name != ".lock")
    assert str(good) not in said


def compared(damaged):
    return {} if damaged in ("metrics.jsonl", ".") else {"compare": {"loss · validation"}}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_directory_may_be_anything(good, bad, kind):
    if kind == "folder":
        pytest.skip("it is one")
    remove(bad / "samples")
    KINDS[kind](bad)
    windows = shown(follow(lambda: [bad, good], unused_port()))
    assert windows.pop("task_good") == SHOWN
    assert {"text/run"} in windows.values()


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


def epoch(number, **metrics):
    return {"kind": "epoch", "epoch": number, "iteration": 10 * number, **metrics}


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


@pytest.mark.parametrize("name", ["metrics.jsonl", "summary.json", SAMPLE, "config.json"])
def test_a_file_may_vanish_as_it_is_read(good, bad, name, monkeypatch, capsys):
    opened = open

    def vanish(path, *args, **kwargs):
        if Path(path) == bad / name:
            Path(path).unlink(missing_ok=True)
        return opened(path, *args, **kwargs)

    update = follow(lambda: [bad, good], unused_port())
    monkeypatch.setattr("builtins.open", vanish)
    windows = shown(update)
    monkeypatch.undo()
    assert windows["task_good"] == SHOWN
    assert "text/run" in windows["task_bad"]
    assert capsys.readouterr().err == ""


def test_a_run_that_was_removed_is_shown_as_it_was(good, bad, capsys):
    update = follow(lambda: [bad, good], unused_port())
    update()
    for path in (bad / "samples", bad):
        remove(path)
    assert shown(update)["task_bad"] == SHOWN
    assert capsys.readouterr().err == ""


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


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\x1b[31m", "é".encode(), b"a\nb", b"<b>", b" "])
def test_a_name_of_a_directory_may_be_anything(good, tmp_path, name, capsys):
    odd = write_run(tmp_path / "task" / os.fsdecode(name))
    holding("[]")(odd / "summary.json")
    windows = shown(follow(lambda: [odd, good], unused_port()))
    assert windows[run_environment(odd)] == windows["task_good"] == SHOWN
    said = capsys.readouterr().err
    assert said.endswith(": summary.json: it holds no object\n")
    assert said[:-1].isprintable()


def test_runs_of_one_name_never_take_each_others_place(good, tmp_path):
    names = ("a/task/good-2", "b/task/good", "c/task/good", "d/task/good-1")
    runs = [write_run(tmp_path / name) for name in names]
    windows = shown(follow(lambda: [*runs, good], unused_port()))
    assert len(windows) == 5 + 1


@pytest.mark.slow
def test_a_board_shows_all_that_is_whole_beside_all_that_is_broken(
    front_end, tmp_path, start_script, monkeypatch
):
    runs = tmp_path / "runs" / "task"
    good, broken = write_run(runs / "good"), {}
    for name in ("config.json", "metrics.jsonl", "summary.json", SAMPLE):
        for kind, damage in KINDS.items():
            if kind != "no permission":
                directory = write_run(runs / f"{name} {kind}".replace("/", "-"))
                damage(directory / name)
                broken[directory] = safe_name(f"task_{directory.name}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(front_end.parent.parent))
    monkeypatch.chdir(tmp_path)
    port = unused_port()
    process = start_script("serve_visdom.py", "--port", port)
    try:
        assert f"shows {len(broken) + 1} runs" in process.stdout.readline()
        server = VisdomProcess(tmp_path, port=port)
        for environment in ("task_good", *broken.values()):
            server.wait_for(environment, safe_name("text/run"))
        assert set(server.windows("task_good")) == {safe_name(name) for name in SHOWN}
        with open(good / "metrics.jsonl", "a") as file:
            file.write(as_lines(epoch(4, **{"val/loss": 7.0})))
        for _ in range(600):
            if server.windows("task_good")["loss"]["content"]["data"][0]["y"][-1] == 7.0:
                break
            time.sleep(0.05)
        else:
            raise TimeoutError("what was added is not shown")
    finally:
        process.kill()
        _, said = process.communicate()
    # Besides, Visdom logs that it was asked for what had not come yet.
    lines = [line.partition(": ")[0] for line in said.splitlines() if line.startswith("runs")]
    assert sorted(lines) == sorted(str(directory.relative_to(tmp_path)) for directory in broken)
