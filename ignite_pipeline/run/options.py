"""The command line of the scripts: options that check themselves, and mistakes reported in one line."""

import argparse
import copy
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch

from handlers import read_config
from handlers.visdom_sender import checked_url
from ignite_pipeline.board.server import PORT

# What may be given anew when a run is resumed: none of these changes what it computes so far.
RESUMABLE = (
    "resume",
    "num_workers",
    "visdom",
    "checkpoint_every_s",
    "save_in_background",
    "epochs",
    "max_iterations",
    "device",
)


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


@contextmanager
def bad_input_exits() -> Iterator[None]:
    """Report a ``ValueError`` or ``OSError`` in one line and exit with status 2: around what reads input."""
    try:
        yield
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def number(
    kind: Callable[[str], Any],
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
) -> Callable[[str], Any]:
    """Return an option's type: a finite number within bounds."""
    bounds = [
        f"{word} {bound}"
        for word, bound in (("above", above), ("at least", least), ("below", below))
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
        )
        if not fits or abs(value) == float("inf") or value != value:
            raise argparse.ArgumentTypeError(f"{wanted}, got {text}")
        return value

    return parse


def add_run_options(
    parser: argparse.ArgumentParser, *, precision: str = "auto", checkpoint_every_s: float = 60.0
) -> None:
    """Add the options that every training script has; defaults that suit the task may be given."""
    group = parser.add_argument_group("the run")
    group.add_argument(
        "--seed",
        type=number(int, least=0, below=2**63),
        default=0,
        help="decides every random draw (default: %(default)s)",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")
    group.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        default=precision,
        help="auto is bf16 where the device computes in it, else fp32 (default: %(default)s)",
    )
    group.add_argument(
        "--num-workers",
        type=_workers,
        default="auto",
        metavar="{auto,N}",
        help="processes that load data; 0 loads in this one, auto finds out while it trains"
        " (default: %(default)s)",
    )
    group.add_argument(
        "--output", metavar="DIR", type=os.path.abspath, help="run directory (default: runs/TASK/TIME-SEED)"
    )
    group.add_argument("--resume", metavar="DIR", help="go on with the run in DIR, with its own options")
    group.add_argument(
        "--max-iterations", type=number(int, least=1), help="end after so many (default: all epochs)"
    )
    group.add_argument(
        "--checkpoint-every-s",
        type=number(float, above=0),
        default=checkpoint_every_s,
        metavar="SECONDS",
        help="save inside long epochs too (default: %(default)s)",
    )
    group.add_argument(
        "--save-in-background",
        action="store_true",
        help="train on while a checkpoint is written, with the memory of a copy",
    )
    group.add_argument(
        "--on-bad-sample",
        choices=("stop", "skip"),
        default="stop",
        help="what to do about an image that cannot be read; skipped ones are counted (default: %(default)s)",
    )
    group.add_argument(
        "--skip-non-finite",
        type=number(int, least=0),
        default=0,
        metavar="N",
        help="skip batches whose loss is not finite, at most N in a row; 0 stops (default: %(default)s)",
    )
    group.add_argument(
        "--log-norms", action="store_true", help="record the norms of weights and gradients too"
    )
    group.add_argument(
        "--visdom",
        type=_visdom,
        default="auto",
        metavar="{auto,off,serve,URL}",
        help=f"live board: auto uses a server on localhost:{PORT} whenever there is one, serve starts one"
        " (default: %(default)s)",
    )


def _workers(text: str) -> int | str:
    return text if text == "auto" else number(int, least=0)(text)


def _visdom(text: str) -> str:
    if text in ("auto", "off", "serve"):
        return text
    try:
        return checked_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{error}; or auto, off or serve (user and password: VISDOM_USERNAME, VISDOM_PASSWORD)"
        ) from None


def parse_options(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, *, task: str
) -> argparse.Namespace:
    """Return the options: those given and the defaults, or, with ``--resume``, those that the run has."""
    options = parser.parse_args(argv)
    if options.resume is None:
        return options
    config = read_config(options.resume)
    if config.get("task") != task or not {"options", "dataset", "threads"} <= config.keys():
        raise ValueError(f"{options.resume}: config.json is not that of a {task} run")
    # The data is what "auto" found then, and no option makes it another.
    stored = {**config["options"], "dataset": config["dataset"]["name"]}
    given = vars(_without_defaults(parser).parse_args(argv))
    given = {
        name: value for name, value in given.items() if value != "auto" or name in ("visdom", "num_workers")
    }
    for name, value in given.items():
        if name not in RESUMABLE and value != stored.get(name):
            raise ValueError(
                f"{_flag(name)} {value} contradicts the run in {options.resume}, which has"
                f" {stored.get(name)}; leave it out to resume, or start a new run"
            )
    for name in ("epochs", "max_iterations"):
        if name in given and stored.get(name) is not None and given[name] < stored[name]:
            raise ValueError(
                f"{_flag(name)} {given[name]} is less than the run's {stored[name]}; give at least that"
            )
    # --visdom, say, may be newer than the run.
    return argparse.Namespace(**{**vars(options), **stored, **given})


def _without_defaults(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    bare = copy.deepcopy(parser)
    for action in bare._actions:
        action.default = argparse.SUPPRESS
    return bare


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def resolve_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda", "mps"):
        raise ValueError(f"--device must be auto, cpu, cuda, cuda:N or mps, got {name}")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:  # each backend raises its own
        raise ValueError(f"--device {name} is not there ({str(error).splitlines()[0]}); try cpu") from error
    return device
