"""Files of tensors that end in the digest of all before it, so that any damage is seen."""

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch

from handlers.errors import UnusableRun
from handlers.files import require_regular

_LOGGER = logging.getLogger(__name__)
# As checkpoints are called.
NAME = re.compile(r"checkpoint_\d+\.pt")
_MARK = b"\nsha256:"
_TRAILER_BYTES = len(_MARK) + 64


class DamagedCheckpoint(UnusableRun):
    """A file is cut off, or does not match its digest."""


class _HashingFile:
    """Pass bytes on to a file, and hash them."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.hasher = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        self.hasher.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def save_sealed(path: Path, content: Any) -> None:
    """Write ``content`` as ``torch.save`` does, and the SHA-256 of it all at the end."""
    with open(path, "wb") as file:
        hashing = _HashingFile(file)
        try:
            torch.save(content, hashing)  # type: ignore[arg-type]  # it needs write() and flush() only
        except RuntimeError as error:  # of its own, which says no more than that something went wrong
            raise hashing.error or error from None
        file.write(_MARK + hashing.hasher.hexdigest().encode())


def check_seal(path: Path) -> None:
    """Raise `DamagedCheckpoint` naming the file if it does not end in the digest of what comes before.

    `UnusableRun` is raised if it cannot be read.
    """
    try:
        require_regular(path)
        size = path.stat().st_size - _TRAILER_BYTES
        with open(path, "rb") as file:
            hasher, left = hashlib.sha256(), max(size, 0)
            while chunk := file.read(min(left, 1 << 20)):
                hasher.update(chunk)
                left -= len(chunk)
            trailer = file.read()
    except OSError as error:
        raise UnusableRun(f"{path}: cannot be read ({error.strerror})") from error
    if size < 0 or not trailer.startswith(_MARK):
        raise DamagedCheckpoint(f"{path}: not a checkpoint, or cut off")
    if trailer != _MARK + hasher.hexdigest().encode():
        raise DamagedCheckpoint(f"{path}: damaged, its content does not match its digest")


def load_checkpoint(path: str | Path, *, lazily: bool = False) -> dict[str, Any]:
    """Read a checkpoint, tensors on the CPU; raise `UnusableRun` naming it if it is damaged or is none.

    ``lazily`` leaves the tensors in the file until they are used. Nothing in the file is executed.
    """
    check_seal(Path(path))
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=lazily)
        if type(content["engine"]["iteration"]) is not int:
            raise TypeError("no iteration")
    except Exception as error:  # whatever a foreign file makes the unpickler stumble over
        raise UnusableRun(f"{path}: not a checkpoint ({type(error).__name__})") from error
    return content


def load_newest(directory: str | Path) -> dict[str, Any]:
    """Return the valid checkpoint of the highest iteration, found by reading each; log those passed over.

    Raises `UnusableRun` if there is none.
    """
    newest, passed_over = find_newest(Path(directory))
    for reason in passed_over.values():
        _LOGGER.warning("%s; passed over", reason)
    if newest is None:
        raise UnusableRun(f"{directory}: holds no valid checkpoint to resume from")
    return load_checkpoint(newest)


def find_newest(directory: Path, *, run: str | None = None) -> tuple[Path | None, dict[Path, str]]:
    """Return the valid checkpoint of the highest iteration, and of the others in the way why they are none.

    With ``run``, those of other runs are in the way, too.
    """
    iterations, passed_over = {}, {}
    for path in sorted(directory.glob("*.pt")):
        try:
            content = load_checkpoint(path, lazily=True)
            require_own(content, path, run=run)
            iterations[path] = content["engine"]["iteration"]
        except UnusableRun as error:
            passed_over[path] = str(error)
    return max(iterations, key=iterations.__getitem__, default=None), passed_over


def require_own(content: Mapping[str, Any], path: Path, *, run: str | None) -> None:
    """Raise `UnusableRun` for a checkpoint of another run, or one that is called like another iteration's."""
    config, iteration = content.get("config"), content["engine"]["iteration"]
    if NAME.fullmatch(path.name) and path.name != checkpoint_path(path.parent, iteration).name:
        raise UnusableRun(f"{path}: holds iteration {iteration}, not that of its name")
    if run is not None and (not isinstance(config, dict) or config.get("run") != run):
        raise UnusableRun(f"{path}: a checkpoint of another run")


def set_aside(path: Path) -> Path | None:
    """Rename what is no checkpoint of this run, so that it is in nobody's way; return its place, if any."""
    names = (f"{path.name}.aside{count or ''}" for count in range(1000))
    aside = next(place for place in map(path.with_name, names) if not os.path.lexists(place))
    try:
        return path.rename(aside)
    except OSError as error:
        _LOGGER.warning("%s could not be renamed (%s)", path, error)
        return None


def files_in(directory: Path) -> list[Path]:
    """Return the files that are called as checkpoints are, the oldest first."""
    paths = directory.iterdir() if directory.exists() else ()
    named = (path for path in paths if NAME.fullmatch(path.name))
    return sorted(named, key=lambda path: (len(path.name), path.name))


def tidy(directory: Path, iteration: int, *, run: str | None) -> None:
    """Remove what a kill has left, and set aside what is no checkpoint of the run.

    `UnusableRun` is raised for one of it that is later than ``iteration``.
    """
    for path in directory.glob(".checkpoint_*.tmp"):
        with suppress(OSError):
            path.unlink()
    for path in files_in(directory):
        if int(path.stem.rpartition("_")[2]) > iteration:
            _refuse_or_set_aside(path, run=run)


def _refuse_or_set_aside(path: Path, *, run: str | None) -> None:
    try:
        content = load_checkpoint(path, lazily=True)
        require_own(content, path, run=run)
    except UnusableRun:
        set_aside(path)
        return
    raise UnusableRun(
        f"{path.parent} holds a checkpoint of iteration {content['engine']['iteration']}: restore it,"
        " or save elsewhere"
    )


def load_best(directory: str | Path) -> dict[str, Any]:
    """Return the checkpoint whose score was the best when the newest was saved.

    Raises `UnusableRun` if there is none, because no score was given or reached, or if it cannot be read.
    """
    best = load_newest(directory)["best"]
    if best is None:
        raise UnusableRun(f"{directory}: no checkpoint has a score; take the newest")
    return load_checkpoint(checkpoint_path(Path(directory), best[1]))


def checkpoint_path(directory: Path, iteration: int) -> Path:
    """Return where the checkpoint of an iteration lies."""
    return directory / f"checkpoint_{iteration:08d}.pt"
