"""Output that is full, closed, missing, gone or unread, and runs that do not mind."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from ignite_pipeline.command_line import say
from ignite_pipeline.standard_streams import GuardedStream
from tests.support.runs import SCRIPTS, outcome, train

pytestmark = pytest.mark.slow

TINY = ["--epochs", "2", "--batch-size", "4", "--precision", "fp32", "--visdom", "off", "--num-workers", "0"]


def command(image_tree, directory):
    return [
        sys.executable,
        SCRIPTS / "run_cifar2.py",
        "--data-root",
        image_tree,
        "--output",
        directory,
        *TINY,
    ]


@pytest.fixture(scope="module")
def expected(image_tree, tmp_path_factory):
    directory = tmp_path_factory.mktemp("expected") / "run"
    train(image_tree, directory, *TINY)
    return outcome(directory)


@pytest.mark.parametrize(
    "redirection",
    ["2>/dev/full", ">/dev/full", "2>&-", ">&-", "<&- >&- 2>&-", "2>&1 | head -n 1", "| true"],
)
def test_a_run_does_not_depend_on_its_output(image_tree, expected, tmp_path, redirection):
    words = " ".join(map(str, command(image_tree, tmp_path / "run")))
    done = subprocess.run(["bash", "-o", "pipefail", "-c", f"{words} {redirection}"], check=False)
    assert done.returncode == 0
    assert outcome(tmp_path / "run") == expected


@pytest.mark.parametrize("missing", ["stdout", "stderr"])
def test_no_file_gets_the_number_of_a_stream_that_is_missing(tmp_path, missing):
    number = {"stdout": 1, "stderr": 2}[missing]
    code = (
        "import os; from ignite_pipeline.standard_streams import guard_standard_streams as guard; guard();"
        f"file = open('file', 'w'); os.write({number}, b'from a library'); assert file.fileno() > 2"
    )
    subprocess.run(f'exec {sys.executable} -c "{code}" {number}>&-', shell=True, cwd=tmp_path, check=True)
    assert (tmp_path / "file").read_text() == ""


def test_letters_that_a_terminal_lacks_do_not_end_a_run(image_tree, expected, tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run(
        command(image_tree, tmp_path / "run"), env=environment, capture_output=True, text=True, check=True
    )
    assert "iterations in" in done.stdout
    assert outcome(tmp_path / "run") == expected


def test_a_terminal_that_goes_away_is_no_end(image_tree, expected, tmp_path):
    master, slave = pty.openpty()
    process = subprocess.Popen(command(image_tree, tmp_path / "run"), stdout=slave, stderr=slave)
    os.close(slave)
    os.read(master, 10)
    os.close(master)
    assert process.wait(60) == 0
    assert outcome(tmp_path / "run") == expected


def test_a_reader_that_has_stopped_to_read_is_not_waited_for():
    reader, writer = os.pipe()
    with open(writer, "w") as file:
        stream = GuardedStream(file, patience_s=0.05)
        writing = threading.Thread(target=lambda: [print("x" * 999, file=stream) for _ in range(1000)])
        writing.start()
        writing.join(10)
        assert not writing.is_alive()
        read = os.read(reader, 1 << 20)
        print("again", file=stream)
        assert os.read(reader, 1 << 20).endswith(b"again\n")
        assert read
    os.close(reader)


def test_what_is_no_terminal_says_so_and_lends_what_else_it_has():
    assert not GuardedStream(None).isatty()
    assert GuardedStream(sys.__stdout__).encoding == sys.__stdout__.encoding
    with pytest.raises(AttributeError, match="nothing"):
        _ = GuardedStream(sys.__stdout__).nothing


def test_threads_print_at_the_same_time():
    reader, writer = os.pipe()
    failures = []

    def print_much(stream):
        try:
            for _ in range(2000):
                print("x", file=stream)
        except BaseException as error:
            failures.append(error)

    with open(writer, "w") as file:
        stream = GuardedStream(file, patience_s=0.01)
        threads = [threading.Thread(target=print_much, args=[stream]) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            os.read(reader, 100)
            time.sleep(0.001)
    os.close(reader)
    assert failures == []


def test_what_is_said_and_the_end_of_its_line_are_written_at_once(monkeypatch):
    written = []
    stream = SimpleNamespace(write=written.append, flush=lambda: None)
    monkeypatch.setattr(sys, "stderr", stream)
    say("a line")
    assert [text for text in written if text] == ["a line\n"]


def test_a_signal_may_print_while_something_is_printed():
    reader, writer = os.pipe()
    with open(writer, "w") as file:
        stream = GuardedStream(file, patience_s=0.5)
        before = signal.signal(signal.SIGALRM, lambda number, frame: print("signal", file=stream))
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            for _ in range(300):  # more than a pipe takes: some of it is waited for
                print("x" * 999, file=stream)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    os.close(reader)
