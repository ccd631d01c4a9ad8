"""The option --visdom and the script serve_visdom.py, without a browser."""

import hashlib
import json
import shutil
import signal
import time

import pytest

import run_cifar2
from handlers.run_windows import run_environment
from handlers.visdom_windows import safe_name
from ignite_pipeline.board import __main__ as serve_visdom
from ignite_pipeline.board import following
from ignite_pipeline.board import server as visdom_server
from tests.support.runs import SCRIPTS
from tests.support.visdom_process import VisdomProcess, hung_server, unused_port

SMALL = ("--model", "conv", "--epochs", "3", "--batch-size", "16", "--classes", "airplane", "bird")


def train(image_tree, directory, *options):
    run_cifar2.main(["--data-root", str(image_tree), "--output", str(directory), *SMALL, *map(str, options)])
    return json.loads((directory / "summary.json").read_text())


@pytest.fixture
def server(tmp_path):
    server = VisdomProcess(tmp_path / "home")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def run_off(image_tree, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "off"
    train(image_tree, directory, "--visdom", "off")
    return directory


def test_a_run_shows_itself_and_trains_the_same_model(image_tree, run_off, server, tmp_path, capsys):
    server.start()
    summary = train(image_tree, tmp_path / "run", "--visdom", server.url)
    assert summary["model_sha256"] == json.loads((run_off / "summary.json").read_text())["model_sha256"]
    assert f"Board: {server.url}/env/{run_environment(tmp_path / 'run')}" in capsys.readouterr().err
    windows = server.windows(run_environment(tmp_path / "run"))
    assert set(windows) >= {"loss", "accuracy", "lr", safe_name("text/run"), safe_name("time/")}
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    (validation,) = (t for t in windows["loss"]["content"]["data"] if t["name"] == "validation")
    assert validation["y"] == [line["val/loss"] for line in lines if line["kind"] == "epoch"]


def test_a_hung_server_changes_nothing(image_tree, run_off, tmp_path):
    with hung_server() as url:
        summary = train(image_tree, tmp_path / "run", "--visdom", url)
    assert summary["model_sha256"] == json.loads((run_off / "summary.json").read_text())["model_sha256"]


def test_user_and_password_come_from_the_environment_and_go_nowhere(image_tree, tmp_path, monkeypatch):
    monkeypatch.setenv("VISDOM_USERNAME", "ada")
    monkeypatch.setenv("VISDOM_PASSWORD", "open sesame")
    server = VisdomProcess(tmp_path / "home")
    server.start()
    try:
        train(image_tree, tmp_path / "run", "--visdom", server.url)
        assert server.log_in("ada", "open sesame")
        assert "loss" in server.windows(run_environment(tmp_path / "run"))
    finally:
        server.kill()
    secrets = (b"open sesame", hashlib.sha256(b"open sesame").hexdigest().encode())
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            assert not any(secret in path.read_bytes() for secret in secrets)


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        (["--visdom", "on"], {}, "must be like http://localhost:8097, got on; or auto, off or serve"),
        (["--visdom", "http://ada:secret@localhost"], {}, "must hold no user name or password; or auto"),
        ([], {"VISDOM_USERNAME": "ada"}, "VISDOM_USERNAME and VISDOM_PASSWORD belong together"),
    ],
)
def test_bad_input_is_one_line(image_tree, tmp_path, capsys, monkeypatch, options, environment, words):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as exit_:
        train(image_tree, tmp_path / "run", *options)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert "secret" not in error
    assert not (tmp_path / "run").exists()


def test_serving_without_a_front_end_says_what_is_missing(image_tree, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(
        visdom_server, "urlopen", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("offline"))
    )
    with pytest.raises(SystemExit) as exit_:
        train(image_tree, tmp_path / "run", "--visdom", "serve")
    assert exit_.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "jquery@3.1.1" in line
    assert "install npm or go online, once" in line
    assert not (tmp_path / "run").exists()


def test_a_file_of_the_front_end_that_is_not_what_it_should_be_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(visdom_server, "_fetch", lambda package, file: b"alert(1)")
    with pytest.raises(ValueError, match=r"jquery@3\.1\.1/dist/jquery\.min\.js is not the file"):
        visdom_server.front_end()
    assert not list((tmp_path / "ignite_pipeline").iterdir())


def test_runs_are_shown_and_compared_from_their_directories(run_off, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run_off, other)
    names = [run_environment(run_off), run_environment(other)]
    windows = following.follow(lambda: [run_off, other], port=unused_port())()
    assert {name for name, _ in windows} == {*names, "compare"}
    assert "completed" in windows[names[0], "text/run"].text
    assert set(windows["compare", "accuracy · validation"].traces) == set(names)
    lines = [json.loads(line) for line in (run_off / "metrics.jsonl").read_text().splitlines()]
    points = windows[names[0], "loss"].traces["validation"].points()
    assert points == [(line["iteration"], line["val/loss"]) for line in lines if line["kind"] == "epoch"]


def test_a_run_is_followed_line_by_line_and_anew_when_it_is_resumed(run_off, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(run_off, directory)
    path = directory / "metrics.jsonl"
    text = path.read_text()
    first = text.index("\n", text.index('"kind": "epoch"')) + 1
    path.write_text(text[: first + 20])
    follower = following.RunFollower(directory)

    def epochs():
        return [x for x, _ in follower.update().windows["loss"].traces["validation"].points()]

    assert epochs() == [4]
    with open(path, "a") as file:
        file.write(text[first + 20 :])
    assert epochs() == [4, 8, 12]
    path.rename(tmp_path / "before")
    path.write_text(text[:first])
    assert epochs() == [4]


def test_two_runs_of_one_name_are_told_apart(run_off, tmp_path):
    twin = tmp_path / run_off.parent.name / run_off.name
    shutil.copytree(run_off, twin)
    windows = following.follow(lambda: [run_off, twin], port=unused_port())()
    name = run_environment(run_off)
    assert {environment for environment, _ in windows} == {name, f"{name}-1", "compare"}


def test_a_damaged_directory_is_told_once_and_hides_no_other(run_off, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(run_off, damaged)
    (damaged / "summary.json").write_text("[]")
    (damaged / "samples").mkdir()
    (damaged / "samples" / "epoch_0001.png").write_bytes(b"")
    update = following.follow(lambda: [damaged, run_off], port=unused_port())
    for _ in range(3):
        assert (run_environment(run_off), "loss") in update()
    assert capsys.readouterr().err.count(f"{damaged}: ") == 1


def test_a_run_that_shows_itself_on_this_server_is_left_to_itself(image_tree, tmp_path, start_script):
    directory, port = tmp_path / "run", unused_port()
    process = start_script(
        "run_cifar2.py",
        *("--data-root", image_tree, "--output", directory, "--visdom", f"http://localhost:{port}"),
        *("--model", "conv", "--epochs", 100_000),
    )
    try:
        while not (directory / "checkpoints").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        follower = following.RunFollower(directory)
        assert follower.shows_itself(port)
        assert not follower.shows_itself(port + 1)
    finally:
        process.kill()
        process.communicate()
    assert not follower.shows_itself(port)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["nowhere"], "nowhere: not a run directory"), (["--port", "0"], "must be a whole number at least 1")],
)
def test_serving_what_is_not_there_is_one_line(arguments, words, capsys):
    with pytest.raises(SystemExit) as exit_:
        serve_visdom.main(arguments)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_port_that_is_taken_is_one_line(capsys):
    with hung_server() as url, pytest.raises(SystemExit):
        serve_visdom.main(["--port", url.rpartition(":")[2]])
    assert "is taken" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("end", ["completed", "interrupted", "killed"])
def test_a_server_that_came_with_a_run_goes_with_it(
    end, front_end, image_tree, tmp_path, start_script, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(front_end.parent.parent))
    directory, epochs = tmp_path / "run", 20 if end == "completed" else 100_000
    process = start_script(
        "run_cifar2.py",
        *("--data-root", image_tree, "--output", directory, "--visdom", "serve"),
        *("--model", "conv", "--epochs", epochs),
    )
    words = next(line for line in process.stderr if "Board: " in line)
    port = int(words.split("localhost:")[1].split("/")[0])
    server = VisdomProcess(tmp_path, port=port)
    assert visdom_server.is_answering(port)
    if end != "completed":
        assert server.wait_for(run_environment(directory), "loss")
        process.send_signal(signal.SIGINT if end == "interrupted" else signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == {"completed": 0, "interrupted": 130, "killed": -signal.SIGKILL}[end]
    for _ in range(100):
        if not visdom_server.is_answering(port):
            break
        time.sleep(0.05)
    assert not visdom_server.is_answering(port)


@pytest.mark.slow
def test_a_run_that_fails_with_workers_leaves_no_server_and_does_not_hang(
    front_end, image_tree, tmp_path, start_script, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(front_end.parent.parent))
    code = """
import sys
import run_cifar2
from ignite_pipeline.data import images
def fail(self, keys): raise OSError("it rots")
images.ImageTensors.__getitems__ = fail
run_cifar2.main(sys.argv[1:])
"""
    script = tmp_path / "rotten.py"
    script.write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    options = ["--data-root", image_tree, "--output", tmp_path / "run", *SMALL, "--num-workers", "1"]
    process = start_script(script, *options, "--visdom", "serve")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "it rots" in error
    port = int(error.split("localhost:")[1].split("/")[0])
    assert not visdom_server.is_answering(port)
