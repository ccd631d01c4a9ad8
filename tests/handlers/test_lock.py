import subprocess
import sys

import pytest

from handlers.lock import is_locked, lock_run

HOLD = """
import sys
from handlers.lock import lock_run
lock_run(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_directory_that_another_process_trains_in_is_refused(holder, tmp_path):
    assert is_locked(tmp_path)
    with pytest.raises(ValueError, match=f"process {holder.pid} is training there"):
        lock_run(tmp_path)


def test_a_lock_dies_with_its_process_and_not_by_being_looked_at(holder, tmp_path):
    for _ in range(3):
        assert is_locked(tmp_path)
    holder.kill()
    holder.wait()
    assert not is_locked(tmp_path)
    lock_run(tmp_path)


def test_a_directory_without_a_lock_is_not_given_one_by_looking(tmp_path):
    assert not is_locked(tmp_path)
    assert not list(tmp_path.iterdir())
