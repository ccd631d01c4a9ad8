"""A command line that checks itself, and mistakes reported in one line."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from ignite_pipeline.config_file import words_in
from ignite_pipeline.errors import BadInput
from ignite_pipeline.standard_streams import guard_standard_streams


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one line, and reads options from ``--config FILE``, too.

    Those on the command line count before those in the file, but cannot undo a flag in it. Options are
    written out: ``--data`` is not ``--data-root``.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})
        self.add_argument(
            "--config",
            metavar="FILE",
            action=_AlreadyRead,
            type=named_path,
            help="read options from TOML, or from a run's config.json; those on the command line count first",
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return what ``argparse`` does, of the words in the file and then those given."""
        words = sys.argv[1:] if args is None else list(args)
        asks = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        asks.add_argument("--config", nargs="?", action="append", default=[])
        paths = asks.parse_known_args(words)[0].config
        if len(paths) > 1:
            self.error("--config may be given once")
        if any(paths):
            try:
                words = [*words_in(paths[0], self), *words]
            except BadInput as error:
                self.error(str(error))
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


class _AlreadyRead(argparse.Action):
    """An option that leaves nothing behind."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, **options)

    def __call__(self, *args: Any, **options: Any) -> None:
        pass


def number(
    kind: Callable[[str], Any],
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> Callable[[str], Any]:
    """Return an option's type: a finite number within bounds.

    >>> number(float, above=0, below=1)("0.5")
    0.5
    """
    bounds = [
        f"{word} {bound}"
        for word, bound in (("above", above), ("at least", least), ("below", below), ("at most", most))
        if bound is not None
    ]
    wanted = f"must be {'a whole number' if kind is int else 'a number'} {' and '.join(bounds)}"

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{wanted}, got {text!r}") from None
        fits = (
            (above is None or value > above)
            and (least is None or value >= least)
            and (below is None or value < below)
            and (most is None or value <= most)
        )
        if not fits or abs(value) == float("inf") or value != value:
            raise argparse.ArgumentTypeError(f"{wanted}, got {text}")
        return value

    return parse


@contextmanager
def exit_on_bad_input(prog: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn `BadInput`, and ``errors`` like it, into one line and status 2; a signal into its status.

    Standard output and error are guarded from here on: whatever becomes of them, the program goes on.
    """
    guard_standard_streams()
    expected: tuple[type[Exception], ...] = (BadInput, *errors)
    try:
        yield
    except expected as error:
        if speaks():
            print(f"{prog}: error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        sys.exit(getattr(interrupt, "status", 130))


def make_folder(path: Path, *, option: str) -> None:
    """Make a folder, unless it is there; raise `BadInput` naming the option if none can be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise BadInput(f"{option} {path} cannot be written: {error.strerror or error}") from error


@contextmanager
def made_folder(path: Path, *, option: str) -> Iterator[None]:
    """Make a folder for a ``with`` block, unless it is there; remove it if the block leaves it empty.

    `BadInput` is raised as by `make_folder`.
    """
    was_there = os.path.exists(path)
    make_folder(path, option=option)
    try:
        yield
    finally:
        if not was_there:
            with suppress(OSError):  # something has been written
                path.rmdir()


def named_path(text: str) -> str:
    """Return the path of an option's file or folder: an empty one would be the folder that one is in."""
    if not text:
        raise argparse.ArgumentTypeError("must name a file or a folder, got ''")
    return text


def absolute_path(text: str) -> str:
    """Return the absolute path of an option's file or folder: a run may be resumed from elsewhere."""
    return os.path.abspath(named_path(text))


def is_inside(path: str | Path, folder: str | Path) -> bool:
    """Return whether a path, which need not be there, is a folder or lies below it."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def require_outside(output: str | Path, data_root: str | Path, *, option: str = "--data-root") -> None:
    """Raise `BadInput` if what is written would lie among the images, where each folder is a class."""
    if is_inside(output, data_root):
        raise BadInput(
            f"{output} would lie in {option} {data_root}, where each folder is a class; give another --output"
        )


def speaks() -> bool:
    """Return whether this is the first of several processes, which speaks for all, or the only one."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Print a line on standard error; a terminal that is gone is not the run's concern."""
    if not speaks():
        return
    with suppress(OSError, ValueError, RuntimeError):
        print(f"{text}\n", end="", file=sys.stderr, flush=True)  # at once: threads say something, too


def say_loudly(notice: str | None) -> None:
    """Print a notice that nobody can miss, if there is one."""
    if notice:
        say(f"\n{'!' * len(notice)}\n{notice}\n{'!' * len(notice)}\n")
