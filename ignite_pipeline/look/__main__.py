"""Look at a folder of images before training on it: what there is, what is wrong, what is there twice.

python -m ignite_pipeline.look --data-root photos                  # look/photos: look.json and look.png
python -m ignite_pipeline.look --data-root photos --targets photos.csv
"""

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from ignite_pipeline.command_line import (
    Parser,
    exit_on_bad_input,
    is_inside,
    made_folder,
    named_path,
    require_outside,
)
from ignite_pipeline.data.targets_csv import KINDS
from ignite_pipeline.errors import BadInput
from ignite_pipeline.look.findings import findings
from ignite_pipeline.look.found_files import FoundFiles, find_files
from ignite_pipeline.look.picture import draw
from ignite_pipeline.look.report import as_json, as_text
from ignite_pipeline.look.same_images import exact_groups, near_groups
from ignite_pipeline.look.survey import survey
from ignite_pipeline.machine import keep_freed_memory
from ignite_pipeline.output_files import write_output
from ignite_pipeline.standard_streams import print_answer

PROG = "python -m ignite_pipeline.look"


def parser() -> Parser:
    """Return the parser of this tool's options."""
    parser = Parser(prog=PROG, description="Look at a folder of images before training on it.")
    add = parser.add_argument
    add("--data-root", metavar="DIR", type=named_path, required=True, help="images, in folders of any kind")
    add("--targets", metavar="CSV", type=named_path, help="a table of files and what they show")
    add(
        "--kind", choices=("auto", *KINDS), default="auto", help="what --targets holds (default: %(default)s)"
    )
    add(
        "--output",
        metavar="DIR",
        type=named_path,
        help="folder of look.json and look.png (default: look/NAME)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Look, print what there is to know, and write it down."""
    with exit_on_bad_input(PROG):
        options = parser().parse_args(argv)
        root = Path(options.data_root)
        output = Path(options.output or Path("look", os.path.basename(os.path.realpath(root)) or "images"))
        if is_inside(root, output):
            raise BadInput(f"--output {output} holds the images; give another folder")
        require_outside(output, root)
        files = find_files(root, targets=options.targets, kind=options.kind)
        keep_freed_memory()
        with made_folder(output, option="--output"):  # before the time that it takes to look
            look(files, output)


def look(files: FoundFiles, output: Path) -> None:
    """Look at files, write ``look.json`` and ``look.png`` to a folder, and print what they hold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow's, about odd metadata
        warnings.simplefilter("ignore", RuntimeWarning)  # and about images that are very large
        seen = survey(files)
        exact = exact_groups(seen)
        near = near_groups(seen, exact)
        found = findings(seen, exact, near)
        content = as_json(seen, exact, near, found)
        if seen.facts:
            write_output(
                output / "look.png", lambda path: draw(seen, exact, near.groups, path), option="--output"
            )
    text = json.dumps(content, indent=2) + "\n"
    write_output(output / "look.json", lambda path: path.write_text(text), option="--output")
    print_answer("\n".join(as_text(found, content)))
    print_answer(f"\n{output}: look.json" + (" and look.png" if seen.facts else ""))


if __name__ == "__main__":
    main()
