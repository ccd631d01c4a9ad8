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
from ignite_pipeline.command_line import Parser, exit_on_bad_input, named_path
from ignite_pipeline.data.images import progress
from ignite_pipeline.errors import BadInput
from ignite_pipeline.output_files import require_writable
from ignite_pipeline.predict.batches import read_in_batches
from ignite_pipeline.predict.export import export_trained
from ignite_pipeline.predict.named_images import find_images
from ignite_pipeline.predict.options import add_batch_size, add_device_options, add_images, add_model
from ignite_pipeline.predict.rows import FORMATS, Prediction, csv_header
from ignite_pipeline.predict.sheet import MOST, write_sheet
from ignite_pipeline.predict.trained_models import TrainedModel, load_trained
from ignite_pipeline.standard_streams import print_answer

PROG = "python -m ignite_pipeline.predict"


def parser() -> Parser:
    """Return the parser of this tool's options."""
    parser = Parser(prog=PROG, description="Say what a trained model sees in images.")
    add = parser.add_argument
    add_model(parser)
    add_images(parser)
    add(
        "--format",
        choices=tuple(FORMATS),
        default="text",
        help="how the lines are written (default: %(default)s)",
    )
    add(
        "--output",
        metavar="PNG",
        type=named_path,
        help=f"draw up to {MOST} of the images with their predictions",
    )
    add(
        "--export",
        metavar="FILE",
        type=named_path,
        help="write the model: .pt2, .onnx, or .pt (weights)",
    )
    add_device_options(parser)
    add_batch_size(parser)
    return parser


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
        if options.output is not None:
            require_writable(options.output, option="--output", inputs=[model.source, *images])
        if options.export is not None:
            export_trained(model, options.export, inputs=images)
        if images and predict(model, images, options):
            sys.exit(2)


def predict(model: TrainedModel, paths: Sequence[Path], options: argparse.Namespace) -> int:
    """Print a prediction for each image, and draw some; return how many could not be read."""
    if options.format == "csv":
        print_answer(csv_header(model.signature))
    unreadable, shown = 0, list[tuple[Tensor, Prediction]]()
    drawn = set(paths[:: -(-len(paths) // MOST)])
    batches = read_in_batches(
        paths, model.signature.preprocessing.read, batch_size=options.batch_size or model.signature.batch_size
    )
    bar = progress(total=len(paths), description="predicting")
    with closing(bar), model.inferring():
        for batch in batches:
            predictions = predictions_of(model, batch.items, batch.images)
            bar.clear()
            for prediction in predictions:
                print_answer(FORMATS[options.format](prediction))
            pairs = zip(batch.images, predictions, strict=True)
            shown += [pair for pair in pairs if pair[1].path in drawn]
            unreadable += batch.unreadable
            bar.update(len(batch.items) + batch.unreadable)
    if options.output is not None and shown:
        draw(model, shown, Path(options.output))
    return unreadable


def predictions_of(model: TrainedModel, paths: Sequence[Path], images: Tensor) -> list[Prediction]:
    """Return the predictions for a batch of images."""
    if not paths:
        return []
    values = model.predict(images).tolist()
    return [Prediction(path, model.signature, row) for path, row in zip(paths, values, strict=True)]


def draw(model: TrainedModel, shown: Sequence[tuple[Tensor, Prediction]], path: Path) -> None:
    """Write the picture of images and predictions."""
    captions = [
        f"{one.best}{'' if one.probability is None else f' {one.probability:.0%}'}" for _, one in shown
    ]
    images = [image for image, _ in shown]
    write_sheet(images, captions, path, option="--output", title=model.title)


if __name__ == "__main__":
    main()
