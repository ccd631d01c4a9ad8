"""A process that is attacked, and what must hold of any: it ends, in time, and nothing of it stays."""

import atexit
import os
import runpy
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

LIMIT_S = 90.0  # for what takes a second or two, on a machine that does other things too
OUTLIVES_S = 5.0
COLD_START_S = 20.0


class Broken(Exception):
    """An attack did not hold: what was expected, and what came."""


class Skipped(Exception):
    """An attack cannot be tried on this machine."""


class Leg:
    """A process, and a session, of its own that runs a script.

    It is forked from this process, which has imported what takes seconds, unless it is to be ``cold``. Each
    of ``changes`` is called in it before anything else.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        cold: bool = False,
        changes: Sequence[Callable[[], object]] = (),
        folder: Path | None = None,
    ) -> None:
        self.command, self.log = list(command), log.with_name(f"{log.name}.{time.monotonic_ns()}")
        self.status: int | None = None
        self.sent: list[int] = []
        self.may_die = False  # of a signal: before it handles them, as Python does
        self._handles_at = time.monotonic() + (COLD_START_S if cold else 0.5)
        self.paths = (Path(os.devnull), Path(f"{self.log}.out"), Path(f"{self.log}.err"))
        for path in self.paths:
            path.touch()
        self.pid = os.fork()
        if self.pid == 0:
            self._become(cold, changes, folder)

    def _become(self, cold: bool, changes: Sequence[Callable[[], object]], folder: Path | None) -> NoReturn:
        status = 1
        try:
            os.setsid()
            for descriptor, path in enumerate(self.paths):
                os.dup2(os.open(path, os.O_RDWR | os.O_APPEND), descriptor)
            os.chdir(folder or self.log.parent)
            for change in changes:
                change()
            if cold:
                os.execv(sys.executable, [sys.executable, *self.command])
            sys.argv = [argument for argument in self.command if argument != "-m"]
            status = _run(self.command)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def output(self) -> str:
        return self.paths[1].read_text(errors="replace")

    def error(self) -> str:
        return self.paths[2].read_text(errors="replace")

    def expect(self, number: int) -> None:
        """Take note that a signal comes now."""
        self.sent.append(number)
        self.may_die |= number == signal.SIGKILL or time.monotonic() < self._handles_at

    def send(self, number: int) -> None:
        self.expect(number)
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Wait for its end, and for that of all that it has started."""
        limit = time.monotonic() + limit_s
        while self.poll() is None:
            if time.monotonic() > limit:
                self.kill()
                raise Broken(f"an end within {limit_s:g} s", f"none\n{self}")
            time.sleep(0.005)
        limit = time.monotonic() + OUTLIVES_S
        while others := list(self.session()):
            if time.monotonic() > limit:
                self.kill()
                raise Broken(f"no process that lives {OUTLIVES_S:g} s longer", f"{len(others)}\n{self}")
            time.sleep(0.02)
        return self.status or 0

    def session(self) -> Iterator[int]:
        """Yield the processes of its session: workers have process groups of their own, but no session."""
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.pid and state not in "ZX":
                    yield int(path.parent.name)

    def kill(self) -> None:
        for pid in self.session():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.status is None:
            os.waitpid(self.pid, 0)
            self.status = -signal.SIGKILL

    def __str__(self) -> str:
        last = self.error().splitlines()[-12:]
        return "\n".join([f"$ {' '.join(self.command)}", *last, f"exit status {self.status}"])


def _run(command: Sequence[str]) -> int:
    """Run a script, or a module after ``-m``, as the interpreter does; return its exit status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = 0
    try:
        if command[0] == "-m":
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = os.path.dirname(command[0])
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:
        traceback.print_exc()
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status
