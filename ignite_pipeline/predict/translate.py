"""Translate images with a trained generator.

python -m ignite_pipeline.predict.translate RUN labels/ --output photos
python -m ignite_pipeline.predict.translate RUN facades/val --pairs --output photos --sheet photos.png
python -m ignite_pipeline.predict.translate RUN facades/val --pairs --output photos --format csv
python -m ignite_pipeline.predict.translate RUN --export generator.pt2
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from handlers.errors import UnusableRun
from ignite_pipeline.command_line import Parser, exit_on_bad_input, made_folder, named_path, number
from ignite_pipeline.data.batch_transforms import Centre, to_pixels
from ignite_pipeline.data.image_files import UnreadableImage, read_image
from ignite_pipeline.data.images import progress
from ignite_pipeline.data.paired import split_pair
from ignite_pipeline.errors import BadInput
from ignite_pipeline.output_files import require_writable, write_output
from ignite_pipeline.predict.export import export_trained
from ignite_pipeline.predict.named_images import find_images
from ignite_pipeline.predict.options import add_device_options, add_images, add_model
from ignite_pipeline.predict.sheet import COLUMNS, MOST, write_sheet
from ignite_pipeline.predict.trained_models import TrainedModel, load_trained
from ignite_pipeline.predict.translated_rows import FORMATS, Translated, csv_header
from ignite_pipeline.standard_streams import print_answer
from ignite_pipeline.translation_metrics import measure_of_one

PROG = "python -m ignite_pipeline.predict.translate"


def parser() -> Parser:
    """Return the parser of this tool's options."""
    parser = Parser(prog=PROG, description="Translate images with a trained generator.")
    add = parser.add_argument
    add_model(parser)
    add_images(parser)
    add(
        "--format",
        choices=tuple(FORMATS),
        default="text",
        help="how the lines are written (default: %(default)s)",
    )
    add("--output", metavar="DIR", type=named_path, help="folder that gets a PNG for each image")
    add("--sheet", metavar="PNG", type=named_path, help="draw some of the images beside their translations")
    add("--pairs", action="store_true", help="the images are side-by-side pairs: take the source's half")
    add("--export", metavar="FILE", type=named_path, help="write the model: .pt2, .onnx, or .pt (weights)")
    add(
        "--seed",
        type=number(int, least=0, below=2**63),
        default=0,
        help="decides dropout (default: %(default)s)",
    )
    add_device_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Translate every image, print where it is, and say how many had to be resized."""
    with exit_on_bad_input(PROG, UnusableRun):
        options = parser().parse_args(argv)
        if not options.images and options.export is None:
            raise BadInput("name images to translate, or --export FILE")
        if options.images and options.output is None:
            raise BadInput("--output DIR must say where the translations go")
        if not options.images and options.sheet is not None:
            raise BadInput("--sheet: there are no images to draw; name some")
        targets = plan(find_images(options.images), Path(options.output)) if options.images else {}
        model = load_trained(options.model, device=options.device, precision=options.precision)
        if model.signature.kind != "image":
            raise BadInput(f"{options.model}: translates no images; use python -m ignite_pipeline.predict")
        inputs = [model.source, *targets, *targets.values()]
        if options.export is not None:
            export_trained(model, options.export, inputs=inputs)
        if targets:
            with made_folder(Path(options.output), option="--output"):
                if options.sheet is not None:
                    require_writable(options.sheet, option="--sheet", inputs=inputs)
                unreadable = translate_all(model, targets, options)
            if unreadable:
                sys.exit(2)


def plan(images: Iterable[Path], output: Path) -> dict[Path, Path]:
    """Return the file that each image is to be written to; raise `BadInput` if two are the same."""
    targets: dict[Path, Path] = {}
    for image in images:
        target = output / f"{image.stem}.png"
        if target in targets:
            raise BadInput(
                f"{targets[target]} and {image} would both be written to {target}; translate them apart"
            )
        if os.path.lexists(target):
            raise BadInput(f"--output: {target} exists; choose another folder")
        targets[target] = image
    return targets


def translate_all(model: TrainedModel, targets: dict[Path, Path], options: argparse.Namespace) -> int:
    """Translate each image on its own, as in validation; return how many could not be read."""
    side, resized, unreadable = model.signature.preprocessing.image_size, 0, 0
    if options.format == "csv":
        print_answer(csv_header(measured=options.pairs))
    measure = measure_of_one() if options.pairs and options.format != "text" else None
    sheet: list[Tensor] = []
    bar = progress(total=len(targets), description="translating")
    with closing(bar), model.inferring():
        for output, path in targets.items():
            try:
                images: tuple[Image.Image, ...] = (read_image(path),)
                if options.pairs:
                    images = split_pair(images[0], path)[:: -1 if model.signature.outputs == ("A",) else 1]
            except UnreadableImage as error:
                bar.write(str(error), file=sys.stderr)
                unreadable += 1
                continue
            resized += images[0].size != (side, side)
            source, *target = (pixels_of(image, side) for image in images)
            torch.manual_seed(options.seed)
            y_pred = model.predict(source.unsqueeze(0))[0]
            distances = measure(y_pred, Centre()(target[0])) if measure else None
            fake = to_pixels(y_pred)
            write_png(fake, output)
            bar.clear()
            row = Translated(path, output, images[0].size, side, distances)
            print_answer(FORMATS[options.format](row))
            bar.update()
            if len(sheet) < MOST:
                sheet += [source, fake]
    if resized:
        print(f"{resized} were resized to {side}x{side}, the network's size", file=sys.stderr)
    if options.sheet is not None and sheet:
        captions = ["source", "translation"] * (COLUMNS // 2)
        path = Path(options.sheet)
        write_sheet(sheet, captions[: len(sheet)], path, option="--sheet", title=model.title)
    return unreadable


def pixels_of(image: Image.Image, side: int) -> Tensor:
    """Return an image as a generator takes it, ``(3, S, S)`` uint8."""
    resized = image.resize((side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def write_png(image: Tensor, path: Path) -> None:
    """Write an image ``(3, S, S)`` uint8 whole or not at all."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    write_output(path, partial(picture.save, format="PNG"), option="--output")


if __name__ == "__main__":
    main()
