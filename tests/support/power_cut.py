"""What a power cut may leave of a folder: the calls of a real process, on a disk that writes when it likes.

Only what ``fsync`` was called for is sure to be there: the content of a file after that of the file, names
in a folder after that of the folder. Of the rest any part may be there, in any order, so that what is found
to hold here holds on every file system (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014).
"""

import math
import os
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import reduce
from itertools import accumulate, compress, product
from pathlib import Path
from typing import Any

# What files hold, by their paths; those of folders end in a slash.
Tree = dict[str, bytes]
# An offset and what is put there; None cuts the file off there, or fills it up.
Write = tuple[int, bytes | None]

_MOST_CHANGES = 8  # of which every subset is tried
_MOST_STAGES = 4
_MOST_TREES = 2000
# All that changes files or opens them. Seeking is not among them, of which imports do so much: it is taken
# that a file is written from its start to its end, or appended to.
_CALLS = """open openat creat write writev pwrite64 pwritev pwritev2 fallocate ftruncate truncate
    copy_file_range sendfile splice fsync fdatasync rename renameat renameat2 unlink unlinkat mkdir mkdirat
    rmdir link linkat symlink symlinkat"""
_ENDED = re.compile(r"(\d+) +(\w+)\((.*)\) += (\d+)")
_UNFINISHED = re.compile(r"(\d+) +(\w+\(.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")
_DESCRIPTOR = re.compile(r"(\d+)<((?:\\x[0-9a-f]{2})*)>")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


class File:
    """The content that is sure to be on the disk, and the writes since."""

    def __init__(self, content: bytes = b"") -> None:
        self.synced = content
        self.pending: list[Write] = []

    def now(self) -> bytes:
        return reduce(_written, self.pending, self.synced)

    def left(self, rng: random.Random) -> list[bytes]:
        """Return what may be left: none of the writes, zeros for them, some and half of the next, all."""
        stages = list(accumulate(self.pending, _written, initial=self.synced))
        halves = [(offset, data and data[: len(data) // 2]) for offset, data in self.pending]
        zeros = [(offset, data and bytes(len(data))) for offset, data in self.pending]
        torn = _some(list(map(_written, stages, halves)))
        return [self.synced, reduce(_written, zeros, self.synced), *torn, *_some(stages[1:])]


def _written(content: bytes, write: Write) -> bytes:
    offset, data = write
    before = content[:offset].ljust(offset, b"\0")
    return before if data is None else before + data + content[offset + len(data) :]


def _some(stages: list[Any]) -> list[Any]:
    return [*stages[: -1 : len(stages) // _MOST_STAGES or 1], *stages[-1:]]


class Folder:
    """The names that are sure to be on the disk, and the changes since, of which each is made or not."""

    def __init__(self) -> None:
        self.synced: dict[str, File | Folder] = {}
        self.pending: list[dict[str, File | Folder | None]] = []

    def now(self) -> dict[str, "File | Folder"]:
        return self._after(self.pending)

    def left(self, rng: random.Random) -> list[dict[str, "File | Folder"]]:
        """Return what may be left: none of the changes, any of them, all."""
        count = len(self.pending)
        masks: Iterable[Sequence[bool]] = product([False, True], repeat=count)
        if count > _MOST_CHANGES:
            prefixes = [[index < length for index in range(count)] for length in range(count)]
            omissions = [[index != omitted for index in range(count)] for omitted in range(count)]
            others = [rng.choices([False, True], k=count) for _ in range(2**_MOST_CHANGES)]
            masks = [*prefixes, *omissions, *others, [True] * count]
        return [self._after(compress(self.pending, mask)) for mask in masks]

    def _after(self, changes: Iterable[dict[str, "File | Folder | None"]]) -> dict[str, "File | Folder"]:
        names = reduce(lambda before, change: {**before, **change}, changes, dict(self.synced))
        return {name: node for name, node in names.items() if node is not None}


def sync(node: File | Folder) -> None:
    node.synced, node.pending = node.now(), []


class Disk:
    """A folder whose present content is all sure to be on the disk; paths are relative to it."""

    def __init__(self, root: Path) -> None:
        self.path, self.root = root.resolve(), Folder()
        for path in sorted(self.path.rglob("*")):
            self.put(str(path.relative_to(self.path)), Folder() if path.is_dir() else File(path.read_bytes()))
        for node in self._nodes(self.root):
            sync(node)

    def within(self, path: bytes) -> str | None:
        found = Path(os.fsdecode(path))
        return str(found.relative_to(self.path)) if found.is_relative_to(self.path) else None

    def find(self, path: str) -> Any:
        """Return what is at a path now, if anything."""
        folder, name = self._parent(path)
        return self.root if path == "." else folder.now().get(name)

    def put(self, path: str, node: File | Folder | None) -> None:
        folder, name = self._parent(path)
        folder.pending.append({name: node})

    def rename(self, old: str, new: str) -> None:
        (folder, before), (other, after) = self._parent(old), self._parent(new)
        if folder is not other:
            raise NotImplementedError(f"{old} renamed into another folder: {new}")
        folder.pending.append({before: None, after: folder.now()[before]})

    def _parent(self, path: str) -> tuple[Folder, str]:
        *folders, name = path.split("/")
        return reduce(lambda folder, name: folder.now()[name], folders, self.root), name

    def now(self) -> Tree:
        return self._tree({}, self.root)

    def left(self) -> Iterator[Tree]:
        """Yield what a power cut may leave: none, all and any of what is pending, or some if that is much."""
        rng = random.Random(0)
        nodes = [node for node in dict.fromkeys(self._nodes(self.root)) if node.pending]
        choices = [node.left(rng) for node in nodes]
        picks: Iterable[Sequence[Any]] = product(*choices)
        if math.prod(map(len, choices)) > _MOST_TREES:
            ends = ([choice[end] for choice in choices] for end in (0, -1))
            picks = [*ends, *([rng.choice(choice) for choice in choices] for _ in range(_MOST_TREES))]
        for picked in picks:
            yield self._tree(dict(zip(nodes, picked, strict=True)), self.root)

    def _nodes(self, folder: Folder) -> Iterator[Any]:
        yield folder
        for node in [node for names in (folder.synced, *folder.pending) for node in names.values()]:
            if isinstance(node, Folder):
                yield from self._nodes(node)
            elif node is not None:
                yield node

    def _tree(self, picked: dict[File | Folder, Any], folder: Folder, at: str = "") -> Tree:
        found = {}
        for name, node in (picked[folder] if folder in picked else folder.now()).items():
            if isinstance(node, Folder):
                found |= {f"{at}{name}/": b"", **self._tree(picked, node, f"{at}{name}/")}
            else:
                found[at + name] = picked[node] if node in picked else node.now()
        return found


def strace(trace: Path) -> list[str]:
    """Return what to put before a command, so that ``trace`` says which files it changes, and how."""
    # All strings are whole and in hexadecimal digits, and each descriptor is followed by its path.
    readable = ["-f", "--seccomp-bpf", "-y", "-xx", "-s", str(2**26), "-o", str(trace)]
    # The question mark allows for calls that not every processor's kernel has.
    return ["strace", *readable, "-e", "trace=" + ",".join(f"?{call}" for call in _CALLS.split())]


@dataclass
class _Opened:
    node: Any
    appends: bool
    position: int = 0


def replay(trace: Path, disk: Disk, *, ignored: str = "") -> Iterator[str]:
    """Do on ``disk`` what was traced; yield the path of whatever is about to be synced, and "" at the end.

    What a power cut may leave only grows from one sync to the next: to look just before each, and at the end,
    is to look at every moment. Syncs of paths that match ``ignored`` are not done.
    """
    opened: dict[str, _Opened] = {}
    for name, args, result in _calls(trace):
        strings = [_decoded(text) for text in _STRING.findall(args)]
        if match := _DESCRIPTOR.match(args):
            path = disk.within(_decoded(match[2]))
            if path is not None and name in ("fsync", "fdatasync"):
                yield path
                if not fnmatch(path, ignored):
                    sync(opened[match[1]].node)
            elif path is not None:
                _change_file(opened[match[1]], name, args, strings, int(result))
        elif paths := [path for path in map(disk.within, strings) if path is not None]:
            if name in ("open", "openat"):
                opened[result] = _open(disk, paths[0], flags=args)
            else:
                _change_folder(disk, name, paths)
    yield ""


def _open(disk: Disk, path: str, *, flags: str) -> _Opened:
    if disk.find(path) is None:
        disk.put(path, File())
    elif "O_TRUNC" in flags:
        disk.find(path).pending.append((0, None))
    return _Opened(disk.find(path), "O_APPEND" in flags)


def _change_file(file: _Opened, name: str, args: str, strings: list[bytes], result: int) -> None:
    if name == "ftruncate":
        file.node.pending.append((int(args.rpartition(", ")[2]), None))
    elif name == "write":
        at = len(file.node.now()) if file.appends else file.position
        file.node.pending.append((at, strings[0][:result]))
        file.position = at + result
    else:
        raise NotImplementedError(f"{name} of a file")


def _change_folder(disk: Disk, name: str, paths: list[str]) -> None:
    if name in ("mkdir", "mkdirat"):
        disk.put(paths[0], Folder())
    elif name in ("unlink", "unlinkat", "rmdir"):
        disk.put(paths[0], None)
    elif name in ("rename", "renameat", "renameat2"):
        disk.rename(*paths)
    else:
        raise NotImplementedError(f"{name} of {paths}")


def _calls(trace: Path) -> Iterator[tuple[str, str, str]]:
    """Yield name, arguments and result of each call that succeeded, in the order of their ends."""
    begun = {}
    with open(trace) as lines:
        for line in lines:
            if match := _UNFINISHED.match(line):
                begun[match[1]] = match[2]
            elif match := _RESUMED.match(line):
                line = f"{match[1]} {begun.pop(match[1])}{match[2]}"
            if match := _ENDED.match(line):
                yield match[2], match[3], match[4]


def _decoded(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
