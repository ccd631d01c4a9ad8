"""Say what a trained model sees in images, or take the model elsewhere.

python -m ignite_pipeline.predict RUN photo.jpg photos/ 'more/*.png'     # file, class, probability
python -m ignite_pipeline.predict RUN/checkpoints/checkpoint_00001000.pt photos/ --format csv
python -m ignite_pipeline.predict RUN --export model.pt2                 # a program for torch.export.load
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from torch import Tensor

from handlers.errors import UnusableRun
from ignite_pipeline.command_line import Parser, exit_on_bad_input, named_path, number
from ignite_pipeline.data.images import progress
from ignite_pipeline.devices import PRECISIONS
from ignite_pipeline.errors import BadInput
from ignite_pipeline.predict.batches import read_in_batches
from ignite_pipeline.predict.export import export_model
from ignite_pipeline.predict.named_images import find_images
from ignite_pipeline.predict.rows import FORMATS, Answer, csv_header
from ignite_pipeline.predict.sheet import MOST, write_sheet
from ignite_pipeline.predict.trained_models import TrainedModel, load_trained
from ignite_pipeline.standard_streams import print_answer

PROG = "python -m ignite_pipeline.predict"


def parser() -> Parser:
    """Return the parser of this tool's options."""
    parser = Parser(prog=PROG, description="Say what a trained model sees in images.")
    add = parser.add_argument
    add(
        "model",
        metavar="CHECKPOINT",
        help="a file, a run's directory (its best one), or a .pt2 program",
    )
    add("images", metavar="IMAGE", nargs="*", help="files, folders and all below them, patterns in quotes")
    add("--format", choices=tuple(FORMATS), default="text", help="of the lines (default: %(default)s)")
    add("--output", metavar="PNG", type=named_path, help=f"a picture of {MOST} of the images, and answers")
    add(
        "--export",
        metavar="FILE",
        type=named_path,
        help="write the model: .pt2, .onnx, or .pt (weights)",
    )
    add_where(parser)
    return parser


def add_where(parser: argparse.ArgumentParser) -> None:
    """Add what says how a trained model computes."""
    add = parser.add_argument
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")
    add("--precision", choices=PRECISIONS, help="number format (default: that of the run)")
    add("--batch-size", type=number(int, least=1), help="images at once (default: as in validation)")


def main(argv: Sequence[str] | None = None) -> None:
    """Predict and print a line for each image; export the model if that is asked for."""
    with exit_on_bad_input(PROG, UnusableRun):
        options = parser().parse_args(argv)
        if not options.images and options.export is None:
            raise BadInput("name images to predict, or --export FILE")
        if not options.images and options.output is not None:
            raise BadInput("--output: there are no images to draw; name some")
        images = find_images(options.images) if options.images else []
        model = load_trained(options.model, device=options.device, precision=options.precision)
        if model.signature.kind == "image":
            raise BadInput(f"{options.model}: translates images; use {PROG}.translate")
        if options.export is not None:
            export(model, options.export)
        if images and predict(model, images, options):
            sys.exit(2)


def export(model: TrainedModel, path: str) -> None:
    """Write a trained model for other programs."""
    if model.predictor is None:
        raise BadInput(f"--export: {model.source} has been exported already; give a checkpoint")
    export_model(model.predictor.model, model.signature, path)
    print(f"{path}: the model of {model.source}", file=sys.stderr)


def predict(model: TrainedModel, paths: Sequence[Path], options: argparse.Namespace) -> int:
    """Print what the model says of each image, and draw it; return how many could not be read."""
    if options.format == "csv":
        print_answer(csv_header(model.signature))
    unreadable, shown = 0, list[tuple[Tensor, Answer]]()
    drawn = set(paths[:: -(-len(paths) // MOST)])
    batches = read_in_batches(
        paths, model.signature.preprocessing.read, batch_size=options.batch_size or model.signature.batch_size
    )
    bar = progress(total=len(paths), description="predicting")
    with closing(bar), model.inferring():
        for batch in batches:
            answers = answer(model, batch.items, batch.images)
            bar.clear()
            for said in answers:
                print_answer(FORMATS[options.format](said))
            pairs = zip(batch.images, answers, strict=True)
            shown += [pair for pair in pairs if pair[1].path in drawn]
            unreadable += batch.unreadable
            bar.update(len(batch.items) + batch.unreadable)
    if options.output is not None and shown:
        draw(model, shown, Path(options.output))
    return unreadable


def answer(model: TrainedModel, paths: Sequence[Path], images: Tensor) -> list[Answer]:
    """Return what the model says of a batch of images."""
    if not paths:
        return []
    values = model.answers_of(images).tolist()
    return [Answer(path, model.signature, row) for path, row in zip(paths, values, strict=True)]


def draw(model: TrainedModel, shown: Sequence[tuple[Tensor, Answer]], path: Path) -> None:
    """Write the picture of images and answers."""
    captions = [
        f"{said.best}{'' if said.probability is None else f' {said.probability:.0%}'}" for _, said in shown
    ]
    images = [image for image, _ in shown]
    write_sheet(images, captions, path, option="--output", title=model.title)


if __name__ == "__main__":
    main()
