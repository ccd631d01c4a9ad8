"""What is done to the processes of a run, and to what they are given: streams, memory, clocks."""

import ctypes
import fcntl
import os
import pty
import resource
import signal
import subprocess
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.attacks.legs import Broken, Leg, Skipped
from tests.attacks.life import Life

ENDING = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU]
CLONE_NEWNS = 0x20000


def signals(life: Life) -> None:
    """Signals to a process, its group or its workers, at random moments, once or twice."""
    for _ in range(life.rng.randint(1, 3)):
        leg = life.start(cold=life.rng.random() < 0.15)
        wait_for_a_moment(life, leg)
        kind = life.rng.choice(["end", "end", "end", "twice", "kill", "stop", "worker"])
        if kind == "worker":
            kill_a_worker(life, leg)
            continue
        if kind == "stop":
            leg.send(signal.SIGSTOP)
            time.sleep(life.rng.uniform(0, 0.5))
            leg.send(signal.SIGCONT)
        for _ in range(2 if kind == "twice" else kind != "stop"):
            number = signal.SIGKILL if kind == "kill" else life.rng.choice(ENDING)
            send(life, leg, number, life.rng.choice(["parent", "group", "workers and parent"]))
            time.sleep(life.rng.choice([0, 0, 0.01, 0.3]))
        life.ended(leg, 0)


def wait_for_a_moment(life: Life, leg: Leg) -> None:
    """Wait for a moment at the start, after or inside a save, or as the end is written down."""
    kind = life.rng.choice(["start", "work", "work", "save", "end"])
    wait_s = life.rng.uniform(0, 0.6)
    saved, limit = set(life.directory.glob("checkpoints/*.pt")), time.monotonic() + 30
    old = (life.directory / "summary.json").exists()
    while leg.poll() is None and kind != "start" and time.monotonic() < limit:
        if kind == "save" and any(life.directory.glob("checkpoints/.*.tmp")):
            return
        if kind == "work" and set(life.directory.glob("checkpoints/*.pt")) - saved:
            break
        now = (life.directory / "summary.json").exists()
        if kind == "end" and now and not old:
            break
        old = old and now
        time.sleep(0.0005)
    time.sleep(wait_s)
    life.tell(f"at {kind}")


def send(life: Life, leg: Leg, number: int, target: str) -> None:
    life.tell(f"{signal.Signals(number).name} to {target}")
    if target == "workers and parent":
        for pid in leg.session():
            if pid != leg.pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
    if target == "group":
        leg.expect(number)
        with suppress(ProcessLookupError):
            os.killpg(leg.pid, number)
    else:
        leg.send(number)


def kill_a_worker(life: Life, leg: Leg) -> None:
    workers = [pid for pid in leg.session() if pid != leg.pid]
    if workers:
        life.tell("SIGKILL to a worker")
        with suppress(ProcessLookupError):
            os.kill(life.rng.choice(workers), signal.SIGKILL)
    if life.ended(leg, 0, 2) == 2 and "worker" not in leg.error():
        raise Broken("one line about a worker", str(leg))


def output_streams(life: Life) -> None:
    """Standard output and error that are full, closed, not read, gone, or not made for our letters."""
    ways: dict[str, Callable[[int], tuple[Callable[[], object], Callable[[], object]]]] = {
        "full": lambda fd: (partial(redirect, "/dev/full", fd), lambda: None),
        "closed": lambda fd: (partial(os.close, fd), lambda: None),
        "broken pipe": partial(pipe, is_open=False),
        "pipe that nobody reads": partial(pipe, is_open=True),
        "terminal": partial(terminal, controls=False),
        "controlling terminal": partial(terminal, controls=True),
        "ASCII": lambda fd: (partial(os.environ.update, PYTHONIOENCODING="ascii", LC_ALL="C"), lambda: None),
    }
    changes, afterwards, cold = [], [], life.rng.random() < 0.2
    for descriptor in life.rng.choice([[1], [2], [1, 2], [0, 2]]):
        way = life.rng.choice(list(ways)) if descriptor else "closed"
        life.tell(f"descriptor {descriptor}: {way}")
        cold |= way in ("closed", "ASCII")  # which Python finds as it starts
        change, then = ways[way](descriptor)
        changes.append(change)
        afterwards.append(then)
    if hangs_up := life.rng.random() < 0.2:
        life.tell("SIGHUP, which is ignored as under nohup")
        changes.append(partial(signal.signal, signal.SIGHUP, signal.SIG_IGN))
    leg = life.start(cold=cold, changes=changes)
    wait_for_a_moment(life, leg)
    for then in afterwards:
        then()
    if hangs_up:
        send(life, leg, signal.SIGHUP, "group")
        leg.sent.clear()
    else:
        leg.expect(signal.SIGHUP)  # what a terminal that is gone sends
    life.ended(leg, 0)


def redirect(path: str, descriptor: int) -> None:
    os.dup2(os.open(path, os.O_WRONLY), descriptor)


def pipe(descriptor: int, *, is_open: bool) -> tuple[Callable[[], object], Callable[[], object]]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)

    def change() -> None:
        os.close(reader)
        os.dup2(writer, descriptor)

    if not is_open:
        os.close(reader)
        return partial(os.dup2, writer, descriptor), lambda: os.close(writer)
    os.write(writer, bytes(4096))  # it takes no more
    return change, lambda: os.close(writer)


def terminal(descriptor: int, *, controls: bool) -> tuple[Callable[[], object], Callable[[], object]]:
    ours, theirs = pty.openpty()

    def change() -> None:
        os.close(ours)
        if controls:
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        os.dup2(theirs, descriptor)

    def gone() -> None:
        os.close(theirs)
        os.close(ours)

    return change, gone


def few_descriptors(life: Life) -> None:
    """Few file descriptors: it ends with a reason, or does with them."""
    number = life.rng.randint(8, 80)
    life.tell(f"{number} descriptors")
    change = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (number, number))
    ended_with_a_reason(
        life, life.start(cold=life.rng.random() < 0.3, changes=[change]), "Too many open files"
    )


def little_memory(life: Life) -> None:
    """Little address space beyond what the imports take."""
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = has + life.rng.randrange(1 << 20, 1 << 29)
    life.tell(f"{(limit - has) >> 20} MiB more than the imports")
    change = partial(resource.setrlimit, resource.RLIMIT_AS, (limit, limit))
    ended_with_a_reason(life, life.start(changes=[change]), "emory", "thread")


def limits(life: Life) -> None:
    """A limit of the size of files, or of computing time, after which a system sends SIGXCPU."""
    if life.rng.random() < 0.5:
        size = life.rng.choice([10**4, 10**5, 10**6, 2 * 10**6])  # standard error is a file, too
        life.tell(f"files of at most {size} bytes")
        leg = life.start(changes=[partial(limit, resource.RLIMIT_FSIZE, size)])
        life.ended(leg, 0, 2)
    else:
        life.tell("seconds of computing")
        leg = life.start(changes=[partial(limit, resource.RLIMIT_CPU, life.rng.randint(1, 3))])
        leg.expect(signal.SIGXCPU)
        life.ended(leg, 0)


def limit(what: int, most: int) -> None:
    resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


def ended_with_a_reason(life: Life, leg: Leg, *reasons: str) -> None:
    status = leg.wait()
    life.tell(f"exit status {status}")
    if status and (status < 0 or not any(reason in leg.error() for reason in reasons)):
        raise Broken(f"exit status 0, or an end that says: {' or '.join(reasons)}", str(leg))


def small_shared_memory(life: Life) -> None:
    """Hardly any shared memory: given workers end in one line, those that were tried are given up."""
    try_to_mount = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    if subprocess.run(try_to_mount, capture_output=True, check=False).returncode:
        raise Skipped("no file system may be mounted")
    size = life.rng.choice(["4k", "64k", "1m"])
    workers = life.rng.choice(["auto", "1", "2", "3"])
    life.tell(f"/dev/shm of {size}")
    leg = life.watch(
        Leg(
            life.command("--num-workers", workers),
            life.folder / "leg",
            changes=[partial(shrink_shared, size)],
        )
    )
    if life.ended(leg, 0, *([] if workers == "auto" else [2])) == 2 and "/dev/shm" not in leg.error():
        raise Broken("one line about /dev/shm", str(leg))


def shrink_shared(size: str) -> None:
    ctypes.CDLL(None).unshare(CLONE_NEWNS)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", "/dev/shm"], check=True)


def surroundings(life: Life) -> None:
    """Another time zone, files from the past or the future, and an environment that somebody has spoilt."""
    life.begin_in_the_middle()
    for path in life.directory.rglob("*"):
        s = life.rng.choice([0, 1, 2**31 + 5, 2**33])
        os.utime(path, (s, s))
    spoilt = {
        "TZ": ["Pacific/Kiritimati", "UTC+23:59", "nowhere/at all", "", ":/dev/zero"],
        "HOME": ["/nowhere", "", "/dev/null"],
        "TMPDIR": ["/nowhere", "/dev/null"],
        "MPLCONFIGDIR": ["/nowhere", "/dev/null"],
        "XDG_CACHE_HOME": ["/dev/null"],
        "LC_ALL": ["C", "nowhere", "tr_TR.UTF-8"],
        "COLUMNS": ["0", "-1", "many"],
        "TERM": ["", "dumb"],
        "PATH": ["", "/nowhere"],
        "PYTHONUTF8": ["0"],
        "PYTHONHASHSEED": ["1"],
        "PYTHONOPTIMIZE": ["2"],
        "OMP_NUM_THREADS": ["2"],
    }
    changes = []
    for name in life.rng.sample(sorted(spoilt), 3):
        value = life.rng.choice(spoilt[name])
        life.tell(f"{name}={value}")
        changes.append(partial(os.environ.update, {name: value}))
    if life.rng.random() < 0.2:
        life.tell("SIGCHLD ignored")
        changes.append(partial(signal.signal, signal.SIGCHLD, signal.SIG_IGN))
    cold = life.rng.random() < 0.6
    life.ended(life.start(cold=cold, changes=changes if cold else [*changes, time.tzset]), 0)


def at_once(life: Life) -> None:
    """A run that is resumed several times at once: one goes on, the others are refused."""
    life.begin_in_the_middle()
    legs = [life.start() for _ in range(life.rng.randint(2, 3))]
    if 0 not in [life.ended(leg, 0, 2) for leg in legs]:
        raise Broken("one that goes on", "\n".join(map(str, legs)))


def begun_at_once(life: Life) -> None:
    """Runs that are begun in the same second have directories of their own."""
    count = life.rng.randint(2, 3)
    legs = [
        life.watch(Leg(life.subject.command("--num-workers", "0"), life.folder / "leg")) for _ in range(count)
    ]
    for leg in legs:
        life.ended(leg, 0)
    found = [path.parent for path in life.folder.glob("runs/*/*/config.json")]
    if len(found) != count:
        raise Broken(f"{count} runs", f"{len(found)}\n{legs[-1]}")
    for life.directory in found:
        life.finish()
