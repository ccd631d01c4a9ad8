"""Options that check themselves, are kept with the run, and come back when it is resumed."""

import argparse
import copy
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from handlers.visdom_sender import checked_url
from ignite_pipeline.board.server import PORT
from ignite_pipeline.command_line import absolute_path, named_path, number
from ignite_pipeline.devices import PRECISIONS
from ignite_pipeline.errors import BadInput
from ignite_pipeline.machine import available_cores
from ignite_pipeline.run.run_config import read_run_config
from ignite_pipeline.run.stored_options import flag, require_readable, stored_options

# What may be given anew when a run is resumed: none of these changes what it has computed so far.
RESUMABLE = (
    "resume",
    "num_workers",
    "visdom",
    "checkpoint_every_s",
    "save_in_background",
    "on_bad_sample",
    "epochs",
    "max_iterations",
    "device",
    "micro_batches",
    "process_timeout_s",
    "summary",
    "tensorboard",
)

_NOT_GIVEN: Any = object()
_MOST_WORKERS = 64


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every run has; ``parser.set_defaults`` may have given some other defaults."""
    group = parser.add_argument_group("the run")

    def add(name: str, *, default: Any = None, **options: Any) -> None:
        chosen = parser.get_default(name.removeprefix("--").replace("-", "_"))
        group.add_argument(name, default=default if chosen is None else chosen, **options)

    add(
        "--seed",
        type=number(int, least=0, below=2**63),
        default=0,
        help="decides every random draw (default: %(default)s)",
    )
    add(
        "--device",
        metavar="NAME",
        default="auto",
        help="auto takes a GPU if there is one; or cpu, cuda, cuda:1, mps (default: %(default)s)",
    )
    add(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="auto is bf16 where the device computes in it, else fp32 (default: %(default)s)",
    )
    add(
        "--micro-batches",
        type=number(int, least=1),
        default=1,
        metavar="N",
        help="compute each batch in so many parts: in less memory, with a second forward pass"
        " (default: %(default)s)",
    )
    add(
        "--replicas",
        type=_power_of_two,
        metavar="V",
        help="cut each batch into so many, a power of two: the weights are then the same bits on 1, 2, ... V"
        " processes (default: the processes that the run begins with)",
    )
    add(
        "--process-timeout-s",
        type=number(float, above=0, most=1e6),
        default=600.0,
        metavar="SECONDS",
        help="how long processes wait for each other (default: %(default)s)",
    )
    add(
        "--num-workers",
        type=_workers,
        default="auto",
        metavar="{auto,N}",
        help="processes that load data; 0 loads in this one, auto finds out while it trains"
        " (default: %(default)s)",
    )
    add("--output", metavar="DIR", type=absolute_path, help="run directory (default: runs/TASK/TIME-SEED)")
    add("--resume", metavar="DIR", type=named_path, help="go on with the run in DIR, with its own options")
    add(
        "--max-iterations",
        type=number(int, least=1),
        help="end after so many iterations (default: all epochs)",
    )
    add(
        "--checkpoint-every-s",
        type=number(float, above=0),
        default=60.0,
        metavar="SECONDS",
        help="save so often inside long epochs, too (default: %(default)s)",
    )
    add(
        "--save-in-background",
        action="store_true",
        default=False,
        help="train on while a checkpoint is written, with the memory of a copy",
    )
    add(
        "--on-bad-sample",
        choices=("stop", "skip"),
        default="stop",
        help="what to do about a sample that cannot be read; skipped ones are counted (default: %(default)s)",
    )
    add(
        "--skip-non-finite",
        type=number(int, least=0),
        default=0,
        metavar="N",
        help="skip batches whose loss is not finite, at most N in a row; 0 stops (default: %(default)s)",
    )
    add(
        "--seed-everything",
        action="store_true",
        default=False,
        help="seed random and numpy.random before each step too, for a step that draws from them",
    )
    add(
        "--log-norms",
        action="store_true",
        default=False,
        help="record the norms of weights and gradients too",
    )
    add(
        "--tensorboard",
        action="store_true",
        default=False,
        help="write curves for TensorBoard, too, to tensorboard/ in the run directory",
    )
    add(
        "--summary",
        action="store_true",
        default=False,
        help="print layers, parameters, FLOPs and memory of a step, and end",
    )
    add(
        "--visdom",
        type=_visdom,
        default="auto",
        metavar="{auto,off,serve,URL}",
        help=f"live board: auto uses a server on localhost:{PORT} whenever there is one, serve starts one"
        " (default: %(default)s)",
    )


def _workers(text: str) -> int | str:
    if text == "auto":
        return text
    count: int = number(int, least=0)(text)
    most = max(_MOST_WORKERS, 4 * available_cores())
    if count > most:
        raise argparse.ArgumentTypeError(
            f"must be at most {most} on a machine with {available_cores()} cores, got {count}"
        )
    return count


def _power_of_two(text: str) -> int:
    count: int = number(int, least=1)(text)
    if count & (count - 1):
        raise argparse.ArgumentTypeError(f"must be a power of two, got {count}")
    return count


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
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, *, task: str, resumable: Collection[str] = ()
) -> argparse.Namespace:
    """Return the options: those given and the defaults, or, with ``--resume``, those that the run has.

    What contradicts the run is refused. An "auto" that is the default contradicts nothing: it stands for what
    the run resolved it to.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    options = None if _resumes(words) else parser.parse_args(words)
    if options is not None and options.resume is None:
        require_readable(parser, options)
        return options
    given = _given(parser, words)
    directory = Path(given["resume"])
    config = read_run_config(directory, task=task)
    stored = stored_options(parser, config, directory)
    free = {*RESUMABLE, *resumable}
    defaults = _defaults(parser)
    given = {
        name: value
        for name, value in given.items()
        if value != "auto" or name in ("visdom", "num_workers") or defaults[name] != "auto"
    }
    for name, value in given.items():
        if name not in free and value != stored.get(name):
            raise BadInput(
                f"{flag(name)} {value} contradicts the run in {given['resume']}, which has"
                f" {stored.get(name)}; leave it out to resume, or start a new run"
            )
    for name in ("epochs", "max_iterations"):
        if name in given and stored.get(name) is not None and given[name] < stored[name]:
            raise BadInput(
                f"{flag(name)} {given[name]} is less than the run's {stored[name]}; give at least that"
            )
    # Options that are newer than the run have their defaults.
    return argparse.Namespace(**{**defaults, **stored, **given})


def options_of_run(
    parser: argparse.ArgumentParser, config: Mapping[str, Any], directory: Path, words: Sequence[str]
) -> argparse.Namespace:
    """Return the options that a run's ``config.json`` has, but for those that ``words`` give anew."""
    stored = stored_options(parser, config, directory)
    return argparse.Namespace(**{**_defaults(parser), **stored, **_given(parser, words)})


def _defaults(parser: argparse.ArgumentParser) -> dict[str, Any]:
    return {
        action.dest: action.default
        for action in parser._actions
        if action.dest not in ("help", argparse.SUPPRESS)
    }


def _given(parser: argparse.ArgumentParser, words: Sequence[str]) -> dict[str, Any]:
    parsed = vars(_lenient(parser).parse_args(words))
    return {name: value for name, value in parsed.items() if value is not _NOT_GIVEN}


def _resumes(words: Sequence[str]) -> bool:
    """Return whether ``--resume`` is given, before anything that a run has by itself is asked for."""
    asks = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    asks.add_argument("--resume", nargs="?")
    asks.add_argument("-h", "--help", action="store_true")
    found, _ = asks.parse_known_args(words)
    return found.resume is not None and not found.help


def _lenient(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Return a copy that knows no defaults and requires nothing: it tells what was given."""
    lenient = copy.deepcopy(parser)
    lenient._defaults.clear()
    for action in lenient._actions:
        action.default, action.required = argparse.SUPPRESS, False
        if not action.option_strings:
            action.default = _NOT_GIVEN  # a text, as SUPPRESS is, would be given to the option's type
            action.nargs = "?" if action.nargs is None else "*" if action.nargs == "+" else action.nargs
    for group in lenient._mutually_exclusive_groups:
        group.required = False
    return lenient
