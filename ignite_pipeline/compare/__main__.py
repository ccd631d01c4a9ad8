"""Compare runs: what differs between two, which is slower or worse; or put all under a folder in a table.

python -m ignite_pipeline.compare RUN RUN                     # or two folders, of three or more runs each
python -m ignite_pipeline.compare OLD NEW --max-slower 5% --max-worse 0.005    # status 3 if NEW is
python -m ignite_pipeline.compare --table runs --sort val/accuracy
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handlers.errors import UnusableRun
from ignite_pipeline.command_line import Parser, exit_on_bad_input, named_path, number
from ignite_pipeline.compare.comparison import compare, find_runs
from ignite_pipeline.compare.limits import exceeded, share
from ignite_pipeline.compare.picture import draw
from ignite_pipeline.compare.report import as_json, as_text, table
from ignite_pipeline.compare.run_table import cells, find_rows, sorted_by
from ignite_pipeline.errors import BadInput
from ignite_pipeline.output_files import write_output
from ignite_pipeline.standard_streams import print_answer

PROG = "python -m ignite_pipeline.compare"
EXCEEDED = 3


def parser() -> Parser:
    """Return the parser of this tool's options."""
    parser = Parser(prog=PROG, description="Compare two runs, or two groups of runs that were made in turn.")
    parser.add_argument(
        "sides",
        nargs="*",
        metavar="DIR",
        type=named_path,
        help="A and B: each a run directory, or a folder of some",
    )
    parser.add_argument(
        "--a",
        nargs="+",
        metavar="DIR",
        type=named_path,
        default=[],
        help="the runs of A, in place of the first DIR",
    )
    parser.add_argument(
        "--b",
        nargs="+",
        metavar="DIR",
        type=named_path,
        default=[],
        help="the runs of B, in place of the second DIR",
    )
    parser.add_argument(
        "--max-slower", type=share, metavar="5%", help="end with status 3 if B is slower by more"
    )
    parser.add_argument(
        "--max-worse",
        type=number(float, least=0),
        metavar="0.005",
        help="end with status 3 if the best metric of B is worse by more",
    )
    parser.add_argument(
        "--table", metavar="FOLDER", type=named_path, help="list all runs under a folder instead"
    )
    parser.add_argument(
        "--sort", metavar="NAME", help="column or metric by which --table is sorted (default: start)"
    )
    parser.add_argument(
        "--reverse", action="store_true", help="sort the other way: smallest number first, last word first"
    )
    parser.add_argument("--json", metavar="FILE", help="write all that was found to a file")
    parser.add_argument("--picture", metavar="FILE", help="draw the comparison as a PNG")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, print what was found, and exit with a status that tells whether B exceeds a limit.

    ``SystemExit`` is raised after a line on standard error: with status 3 if it does, with 2 for bad input.
    """
    with exit_on_bad_input(PROG, UnusableRun):
        options = parser().parse_args(argv)
        require_consistent(options)
        lines = compare_sides(options) if options.table is None else list_runs(options)
    if lines:
        print("\n".join(lines), file=sys.stderr, flush=True)
        sys.exit(EXCEEDED)


def require_consistent(options: argparse.Namespace) -> None:
    """Raise `BadInput` for options that do not go together, or too few."""
    named = bool(options.a) + bool(options.b)
    of_comparison = [options.sides, options.a, options.b, options.picture]
    if options.table is not None:
        if any(of_comparison) or options.max_slower is not None or options.max_worse is not None:
            raise BadInput("--table takes --sort, --reverse and --json alone")
        return
    if options.sort is not None or options.reverse:
        raise BadInput("--sort and --reverse are for --table FOLDER")
    if (len(options.sides), named) not in ((2, 0), (0, 2)):
        raise BadInput(
            "give two run directories or folders of runs: A B; or --a DIR ... --b DIR ...; or --table FOLDER"
        )


def compare_sides(options: argparse.Namespace) -> list[str]:
    """Write a comparison down, print it, and return a line for each limit that B exceeds."""
    places = (options.a, options.b) if options.a else ([side] for side in options.sides)
    (a, left_out_a), (b, left_out_b) = (
        find_runs(side, [Path(place) for place in given]) for side, given in zip("AB", places, strict=True)
    )
    found = compare(a, b, notes=[*left_out_a, *left_out_b])
    lines = exceeded(found, max_slower=options.max_slower, max_worse=options.max_worse)
    write_json(options.json, as_json(found, lines))
    if options.picture is not None:
        write_output(options.picture, lambda path: draw(found, path), option="--picture")
    print_answer("\n".join(as_text(found)))
    return lines


def list_runs(options: argparse.Namespace) -> list[str]:
    """Write down all runs under a folder, and print a table of them."""
    rows, left_out = find_rows(Path(options.table))
    if not rows:
        raise BadInput(left_out[0].removeprefix("left out: "))
    rows = sorted_by(rows, options.sort or "start", reverse=options.reverse)
    write_json(options.json, {"runs": rows, "left_out": left_out})
    print_answer("\n".join([*table(*cells(rows, options.sort or "start")), *left_out]))
    return []


def write_json(path: str | None, content: dict[str, Any]) -> None:
    """Write JSON, if it is asked for."""
    if path is not None:
        text = json.dumps(content, indent=2) + "\n"
        write_output(path, lambda temporary: temporary.write_text(text), option="--json")


if __name__ == "__main__":
    main()
