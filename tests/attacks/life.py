"""The life of a run that is attacked, and what must hold of it."""

import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

from tests.attacks.legs import LIMIT_S, Broken, Leg
from tests.attacks.subjects import Subject
from tests.support.runs import outcome, summary


class Life:
    """The life of one run: begun, disturbed, resumed, and compared with the undisturbed one at its end."""

    def __init__(self, subject: Subject, folder: Path, rng: random.Random) -> None:
        self.subject, self.folder, self.rng = subject, folder, rng
        self.directory = folder / "run"
        self.expected = outcome(subject.whole)
        self.legs: list[Leg] = []
        self.told: list[str] = []
        self.in_the_way: set[str] = set()  # what is no file, and so nobody's temporary one

    def place(self, name: str) -> Path:
        """Return a path that is free, outside the run."""
        return self.folder / f"{name}{len(self.told)}"

    def tell(self, text: str) -> None:
        self.told.append(text)

    def begin_in_the_middle(self) -> None:
        """Let the run be one that was ended in the middle, unless it has begun."""
        if not self.directory.exists():
            shutil.copytree(self.subject.part, self.directory, symlinks=True)

    def command(self, *options: object) -> list[str]:
        if any(os.path.lexists(self.directory / name) for name in ("config.json", "checkpoints")):
            return [str(self.subject.script), "--resume", str(self.directory), *map(str, options)]
        return self.subject.command("--output", self.directory, *options)

    def start(self, *options: object, **how: Any) -> Leg:
        """Begin the run, or resume it, with random workers."""
        more = [*options, "--num-workers", self.rng.choice([0, 0, 1, 2, "auto"])]
        if self.rng.random() < 0.3:
            more.append("--save-in-background")
        return self.watch(Leg(self.command(*more), self.folder / "leg", **how))

    def watch(self, leg: Leg) -> Leg:
        self.legs.append(leg)
        self.tell(f"$ {' '.join(leg.command)}")
        return leg

    def ended(self, leg: Leg, *statuses: int, limit_s: float = LIMIT_S) -> int:
        """Wait for the end of a leg: in good order, with one of ``statuses`` or that of a signal sent."""
        status = leg.wait(limit_s)
        self.tell(f"exit status {status}")
        error = leg.error()
        answered = [128 + number for number in leg.sent]
        # Nor does it handle signals any more once it has said its last.
        may_die = leg.may_die or leg.output() or "interrupted; go on" in error
        died = [-number for number in leg.sent] if may_die else []
        is_saving = "saving after this step" in error
        allowed = [*answered, *died, *(() if is_saving else statuses)]
        if status not in allowed:
            raise Broken(f"exit status {' or '.join(map(str, allowed))}", str(leg))
        # A KeyboardInterrupt before `launch` has begun, or after it has returned, is Python's own; and the
        # profiler's workers, when it is killed, are torch's.
        is_foreign = signal.SIGINT in leg.sent and "\nKeyboardInterrupt" in error
        if "Traceback" in error and not is_foreign and status != -signal.SIGKILL:
            raise Broken("no traceback", str(leg))
        if status == 2 and error.count(": error: ") != 1:
            raise Broken("one line that says why", str(leg))
        if status in answered:
            self._require_saved(leg)
        return status

    def _require_saved(self, leg: Leg) -> None:
        if not (self.directory / "summary.json").is_file() or "saving after this step" not in leg.error():
            return
        newest = max((path.name for path in self.directory.glob("checkpoints/checkpoint_*.pt")), default="")
        saved = summary(self.directory).get("saved_iteration")
        if newest != ("" if saved is None else f"checkpoint_{saved:08d}.pt"):
            raise Broken(f"{newest} in summary.json", f"saved_iteration {saved}\n{leg}")

    def is_refused(self, *, naming: str = "") -> bool:
        """Resume the run; return whether it was refused in one line, with nothing changed, or ended well."""
        before = contents(self.directory)
        leg = self.start()
        if self.ended(leg, 0, 2) == 0:
            return False
        if len(leg.error().splitlines()) != 1 or naming not in leg.error():
            raise Broken(f"one line that names {naming or 'what is wrong'}", str(leg))
        if contents(self.directory) != before:
            raise Broken("nothing changed by a run that was refused", str(leg))
        return True

    def finish(self) -> None:
        """Resume the run to its end, and compare it with the undisturbed one."""
        leg = self.start()
        self.ended(leg, 0)
        names, now = ("weights", "metrics", "samples"), outcome(self.directory)
        differ = [name for name, is_, was in zip(names, now, self.expected, strict=True) if is_ != was]
        if differ:
            raise Broken("the same as undisturbed", f"other {', '.join(differ)}\n{leg}")
        left = {path.name for path in self.directory.rglob("*.tmp")}
        if left - self.in_the_way:
            raise Broken("no temporary files", f"{', '.join(left)}\n{leg}")
        if summary(self.directory)["status"] != "completed":
            raise Broken("summary.json says that it is completed", str(leg))

    def close(self) -> None:
        for leg in self.legs:
            leg.kill()


def contents(directory: Path) -> dict[str, bytes | None]:
    """Return what is in a directory, but for who has locked it."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
        if path.name != ".lock" and not path.is_symlink()
    }
