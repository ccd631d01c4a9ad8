"""A tool's answers on standard output: they wait for their reader, and are not lost without a word."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ["predict", "predict.translate", "evaluate", "look", "compare", "profiling"]
COUNT = 3000  # more than a pipe takes
ANSWERS = f"""
from ignite_pipeline.command_line import exit_on_bad_input
from ignite_pipeline.standard_streams import print_answer
with exit_on_bad_input("tool"):
    for number in range({COUNT}):
        print_answer(str(number) + " " + 99 * "x")
"""
UNBLOCKED = "import os; os.set_blocking(1, False)"


def answering(redirection="", *, first=""):
    """Start a tool that answers many times, through a shell."""
    command = ["bash", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, first + ANSWERS]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("first", ["", UNBLOCKED])
def test_a_reader_that_pauses_is_waited_for(first):
    with answering(first=first) as process:
        assert process.stdout.readline()
        time.sleep(2)  # more than a run would wait
        assert [int(line.split()[0]) for line in process.stdout] == list(range(1, COUNT))
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("redirection", "reason"), [(">/dev/full", "No space left on device"), (">&-", "it is closed")]
)
def test_answers_that_cannot_be_written_are_one_line_and_a_status(redirection, reason):
    with answering(redirection) as process:
        assert process.stderr.read() == f"tool: error: standard output cannot be written: {reason}\n"
    assert process.returncode == 2


def test_the_bytes_of_a_name_stay_what_they_are():
    answer = """
from ignite_pipeline.command_line import exit_on_bad_input
from ignite_pipeline.standard_streams import print_answer
with exit_on_bad_input("tool"):
    print_answer("caf\\udce9.png \\u20ac")
"""
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1:strict"}
    command = [sys.executable, "-c", answer]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    assert done.stdout == b"caf\xe9.png ?\n"


def test_a_reader_who_has_had_enough_ends_it_quietly():
    with answering() as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 128 + signal.SIGPIPE


def test_ctrl_c_ends_the_wait_for_a_reader():
    with answering() as process:
        process.stdout.readline()
        time.sleep(1)  # until it waits
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


@pytest.mark.parametrize("tool", TOOLS)
def test_no_tool_prints_its_answers_as_a_run_says_something(tool):
    path = ROOT.joinpath("ignite_pipeline", *tool.split("."))
    text = (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    assert "print_answer(" in text
    assert not [line for line in text.splitlines() if " print(" in line and "file=sys.stderr" not in line]
