"""What is done to the files of a run, and to its data."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.attacks.legs import Broken
from tests.attacks.life import Life
from tests.attacks.processes import wait_for_a_moment
from tests.support.runs import summary, untimed

ABSURD = [0, -1, 0.5, 10**30, 1e308, float("nan"), True, None, "", "absurd", "\0", [], [5], {}, {"a": None}]
GARBAGE = [
    b"5\n",
    b"{}\n",
    b'{"iteration": null}\n',
    b"[" * 100_000,
    b"NaN\n",
    b"\xff\xfe\0\x80\n",
    b"\0" * 5000,
]
REPLACEMENTS = ["garbage", "empty", "FIFO", "folder", "device", "dangling link", "link to itself"]


def moved(life: Life) -> None:
    """A directory that is moved, copied or linked, under whatever name."""
    life.begin_in_the_middle()
    name = life.rng.choice(
        ["a b", "vögel ✈", "new\nline", "%s{}$HOME'\"", "x" * 200, "*[a]?", ".hidden", "-dash"]
    )
    place = life.folder / name
    how = life.rng.choice(["move", "copy", "link"])
    life.tell(f"{how} to {name!r}")
    if how == "link":
        place.symlink_to(life.directory)
    else:
        copy(life.directory, place)
        if how == "move":
            shutil.rmtree(life.directory)
    life.directory = place


def copy(path: Path, place: Path) -> None:
    """Copy whatever it is, FIFOs and links that lead nowhere too."""
    subprocess.run(["cp", "-a", path, place], check=True)


def leftovers(life: Life) -> None:
    """Temporary files that a kill has left, and what else may have their names."""
    life.begin_in_the_middle()
    names = [
        *(f".{name}.tmp" for name in ("config.json", "summary.json", "metrics.jsonl")),
        *(f"checkpoints/.checkpoint_{number:08d}.pt.tmp" for number in (0, 1, 40, 10**8)),
    ]
    is_done = newest(life.directory) == newest(life.subject.whole)  # and then nothing begins
    for name in life.rng.sample(names, 3):
        what = life.rng.choice(["garbage", "empty", "FIFO", "dangling link", "folder", "device"])
        replace_by(life, life.directory / name, what)
        if is_done or what not in ("garbage", "empty"):
            life.in_the_way.add(Path(name).name)


def replace_by(life: Life, path: Path, what: str) -> None:
    life.tell(f"{path.name}: {what}")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    if what == "garbage":
        path.write_bytes(life.rng.choice(GARBAGE))
    elif what == "empty":
        path.touch()
    elif what == "FIFO":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
        (path / "file").touch()
    elif what == "device":
        path.symlink_to(life.rng.choice(["/dev/zero", "/dev/full", "/dev/null", "/dev/tty"]))
    elif what == "dangling link":
        path.symlink_to("nowhere")
    elif what == "link to itself":
        path.symlink_to(path.name)


def damage(life: Life, path: Path) -> None:
    """Damage a file in place, replace it by something else, or remove it."""
    how = life.rng.choice(["cut", "flip", "append", "insert", "replace", "replace", "remove"])
    content = path.read_bytes() if path.is_file() else b""
    if how == "replace" or (not content and how != "remove"):
        replace_by(life, path, life.rng.choice(REPLACEMENTS))
        return
    life.tell(f"{path.relative_to(life.directory)}: {how}")
    if how == "remove":
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    elif how == "cut":
        path.write_bytes(content[: life.rng.randrange(len(content))])
    elif how in ("append", "insert"):
        lines = content.splitlines(keepends=True)
        at = len(lines) if how == "append" else life.rng.randrange(len(lines))
        path.write_bytes(b"".join([*lines[:at], life.rng.choice(GARBAGE), *lines[at:]]))
    else:
        flipped = bytearray(content)
        for _ in range(life.rng.choice([1, 10])):
            flipped[life.rng.randrange(len(flipped))] ^= 1 << life.rng.randrange(8)
        path.write_bytes(flipped)


def damaged_file(life: Life) -> None:
    """Any file of a run is damaged: the run is refused in one line, or goes on; what is there stays so."""
    life.begin_in_the_middle()
    names = ["config.json", "metrics.jsonl", "non_finite.jsonl", "summary.json", "report.png", ".lock"]
    name = life.rng.choice([*names, "metrics.jsonl", "checkpoints", "samples"])
    path = life.directory / name
    if name == "samples" and path.is_dir() and life.rng.random() < 0.7:
        path = life.rng.choice(sorted(path.iterdir()))
    whole = life.place("whole")
    copy(life.directory, whole)
    damage(life, path)
    if life.is_refused(naming=name if name != ".lock" else "locked"):
        shutil.rmtree(life.directory)
        whole.rename(life.directory)
    elif name == "metrics.jsonl":
        require_what_came_after(life, whole)
    elif name == "samples":
        replace_by(life, path, "removed")
        shutil.copytree(life.subject.whole / "samples", life.directory / "samples", dirs_exist_ok=True)


def damaged_meanwhile(life: Life) -> None:
    """Something takes the place of a file while the run goes on: it ends in good order all the same."""
    names = [
        "config.json",
        "summary.json",
        "report.png",
        "non_finite.jsonl",
        ".lock",
        "samples",
        "checkpoints",
    ]
    leg = life.start()
    wait_for_a_moment(life, leg)
    if not (life.directory / "checkpoints").is_dir():
        life.ended(leg, 0)
        return
    name = life.rng.choice(names)
    path = life.directory / name
    kept = life.place("kept")
    if name in ("config.json", "checkpoints"):
        copy(path, kept)
    replace_by(life, path, life.rng.choice([*REPLACEMENTS, "removed"]))
    life.ended(leg, 0, 2)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kept.exists():
        kept.rename(path)


def newest(directory: Path) -> int:
    return max(
        (int(path.stem[11:]) for path in directory.glob("checkpoints/checkpoint_*[0-9].pt")), default=0
    )


def require_what_came_after(life: Life, whole: Path) -> None:
    """Compare the lines that were written after the damage, and then put the others there."""
    came, (weights, expected, _) = newest(whole), life.expected
    later = [line for line in untimed(life.directory) if line["iteration"] > came]
    if later != [line for line in expected if line["iteration"] > came]:
        raise Broken("all lines from after the damage", str(life.legs[-1]))
    if summary(life.directory)["model_sha256"] != weights:
        raise Broken("the same weights", str(life.legs[-1]))
    shutil.copy(life.subject.whole / "metrics.jsonl", life.directory / "metrics.jsonl")


def damaged_checkpoints(life: Life) -> None:
    """Some checkpoints are damaged: the run goes on from another; or all: it is refused."""
    life.begin_in_the_middle()
    paths = sorted(life.directory.glob("checkpoints/*.pt"))
    whole = life.place("whole")
    copy(life.directory, whole)
    chosen = life.rng.sample(paths, life.rng.randint(1, len(paths)))
    for path in chosen:
        damage(life, path)
    if life.is_refused(naming="checkpoints"):
        if len(chosen) < len(paths):
            raise Broken("a run that goes on from a whole checkpoint", str(life.legs[-1]))
        shutil.rmtree(life.directory)
        whole.rename(life.directory)


def foreign_checkpoint(life: Life) -> None:
    """A checkpoint of another run lies there as the newest, or instead of one."""
    life.begin_in_the_middle()
    foreign = life.rng.choice(sorted(life.subject.other.glob("checkpoints/*.pt")))
    number = life.rng.choice([newest(life.directory), newest(life.directory) + 1, 10**7])
    life.tell(f"{foreign.name} of another run as {number}")
    shutil.copy(foreign, life.directory / "checkpoints" / f"checkpoint_{number:08d}.pt")


def misnamed_checkpoint(life: Life) -> None:
    """A checkpoint of the run lies there under another name, too: it goes on, or is refused in one line."""
    life.begin_in_the_middle()
    path = life.rng.choice(sorted(life.directory.glob("checkpoints/*.pt")))
    number = life.rng.randrange(newest(life.directory) + 10)
    name = life.rng.choice(
        [f"checkpoint_{number:08d}.pt", "checkpoint (copy).pt", f"{path.name}.bak", "best.pt"]
    )
    copied = path.with_name(name)
    if copied.exists():
        return
    life.tell(f"{path.name} as {name}")
    shutil.copy(path, copied)
    if life.is_refused(naming=name):
        copied.unlink()


def edited_config(life: Life) -> None:
    """One value in config.json is absurd: the run is refused in one line, or it is no matter."""
    life.begin_in_the_middle()
    path = life.directory / "config.json"
    before = path.read_text()
    config = json.loads(before)
    place, key = life.rng.choice(list(values_in(config)))
    value = life.rng.choice(ABSURD)
    if key in ("epochs", "max_iterations", "threads") and value not in (0, -1, 0.5, "", "absurd"):
        value = "absurd"  # for as many as one likes may be asked for
    life.tell(f"{key}: {place[key]!r:.60} becomes {value!r}")
    place[key] = value
    path.write_text(json.dumps(config, indent=2))
    if life.is_refused():
        path.write_text(before)


def values_in(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from values_in(inner)
