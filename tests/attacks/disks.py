"""What is done to the disk that a run is on."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.attacks.legs import Skipped
from tests.attacks.life import Life
from tests.attacks.processes import wait_for_a_moment


@contextmanager
def disk(life: Life, options: str) -> Iterator[Path]:
    """Move the run to a file system of its own."""
    place = life.place("disk")
    kept = life.place("kept")
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        raise Skipped(f"no file system may be mounted: {mounted.stderr.decode().strip()}")
    life.tell(f"on a disk with {options}")
    try:
        if life.directory.exists():
            shutil.move(life.directory, place / "run")
        life.directory = place / "run"
        yield place
        life.close()
        if (place / "run").exists():
            shutil.move(place / "run", kept)
    finally:
        life.close()
        subprocess.run(["umount", "--lazy", str(place)], check=True)
    life.directory = kept


def full_disk(life: Life) -> None:
    """A disk that is full, or has no place for one file more, at the start, for a while, or to the end."""
    inodes = life.rng.random() < 0.25
    with disk(life, "size=1g,nr_inodes=200" if inodes else "size=24m") as place:
        if life.rng.random() < 0.5:
            life.begin_in_the_middle()
        fill = (
            partial(no_more_files, place)
            if inodes
            else partial(no_more_bytes, place, life.rng.choice([0, 0, 100, 3000, 9000]))
        )
        when = life.rng.choice(["start", "middle", "middle", "to the end"])
        life.tell(f"full: {when}")
        if when == "start":
            fill()
        leg = life.start()
        wait_for_a_moment(life, leg)
        fill()
        time.sleep(life.rng.uniform(0, 1.5))
        if when != "to the end":
            free(place)
        life.ended(leg, 0, 2)
        free(place)
        life.finish()


def no_more_bytes(place: Path, left: int) -> None:
    with open(place / "ballast", "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    with open(place / "ballast", "rb+") as file:
        file.truncate(max(0, file.seek(0, os.SEEK_END) - left))


def no_more_files(place: Path) -> None:
    with suppress(OSError):
        for number in range(1000):
            (place / f"ballast_{number}").touch()


def free(place: Path) -> None:
    for path in place.glob("ballast*"):
        path.unlink()


def read_only_disk(life: Life) -> None:
    """A disk that can only be read, for a while or to the end."""
    with disk(life, "size=64m") as place:
        if life.rng.random() < 0.7:
            life.begin_in_the_middle()
        at_start = life.rng.random() < 0.3
        if at_start:
            remount(place, "ro")
        leg = life.start()
        wait_for_a_moment(life, leg)
        remount(place, "ro")
        time.sleep(life.rng.uniform(0, 1.5))
        if life.rng.random() < 0.7:
            remount(place, "rw")
        life.ended(leg, 0, 2)
        remount(place, "rw")
        life.finish()


def remount(place: Path, how: str) -> None:
    # It is refused while a file is open for writing.
    for _ in range(200):
        if subprocess.run(["mount", "-o", f"remount,{how}", str(place)], capture_output=True).returncode == 0:
            return
        time.sleep(0.005)
