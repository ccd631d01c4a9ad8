"""Whatever kind of file lies in a run's directory, or none, all other runs are shown as always."""

import os
import time
from pathlib import Path

import pytest

from handlers.run_windows import run_environment
from handlers.visdom_windows import safe_name
from ignite_pipeline.board.following import follow
from tests.support.board_runs import (
    LOST,
    SAMPLE,
    SHOWN,
    as_lines,
    compared,
    epoch,
    holding,
    remove,
    shown,
    write_run,
)
from tests.support.visdom_process import VisdomProcess, unused_port


@pytest.fixture
def good(tmp_path):
    return write_run(tmp_path / "task" / "good")


@pytest.fixture
def bad(tmp_path):
    return write_run(tmp_path / "task" / "bad")


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


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_directory_may_be_anything(good, bad, kind):
    if kind == "folder":
        pytest.skip("it is one")
    remove(bad / "samples")
    KINDS[kind](bad)
    windows = shown(follow(lambda: [bad, good], unused_port()))
    assert windows.pop("task_good") == SHOWN
    assert {"text/run"} in windows.values()


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
