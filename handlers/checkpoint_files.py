"""Files of tensors that end in the digest of all before it, so that any damage is seen."""

import hashlib
import logging
from pathlib import Path
from typing import Any, BinaryIO

import torch

from handlers.errors import UnusableRun

_LOGGER = logging.getLogger(__name__)
_MARK = b"\nsha256:"
_TRAILER_BYTES = len(_MARK) + 64


class DamagedCheckpoint(UnusableRun):
    """A file is cut off, or does not match its digest."""


class _HashingFile:
    """Pass bytes on to a file, and hash them."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.hasher = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.hasher.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def save_sealed(path: Path, content: Any) -> None:
    """Write ``content`` as ``torch.save`` does, and the SHA-256 of it all at the end."""
    with open(path, "wb") as file:
        hashing = _HashingFile(file)
        torch.save(content, hashing)  # type: ignore[arg-type]  # it needs write() and flush() only
        file.write(_MARK + hashing.hasher.hexdigest().encode())


def check_seal(path: Path) -> None:
    """Raise `DamagedCheckpoint` naming the file if it does not end in the digest of what comes before.

    `UnusableRun` is raised if it cannot be read.
    """
    try:
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
        content["engine"]["iteration"]
    except Exception as error:  # whatever a foreign file makes the unpickler stumble over
        raise UnusableRun(f"{path}: not a checkpoint ({type(error).__name__})") from error
    return content


def load_newest(directory: str | Path) -> dict[str, Any]:
    """Return the valid checkpoint of the highest iteration, found by reading each; log those passed over.

    Raises `UnusableRun` if there is none.
    """
    iterations = {}
    for path in sorted(Path(directory).glob("*.pt")):
        try:
            iterations[path] = load_checkpoint(path, lazily=True)["engine"]["iteration"]
        except UnusableRun as error:
            _LOGGER.warning("%s; passed over", error)
    if not iterations:
        raise UnusableRun(f"{directory}: holds no valid checkpoint to resume from")
    return load_checkpoint(max(iterations, key=iterations.__getitem__))


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
