"""Translate images with a trained generator.

python -m ignite_pipeline.predict.translate RUN labels/ --output photos
python -m ignite_pipeline.predict.translate CHECKPOINT facades/val --pairs --output photos --sheet photos.png
python -m ignite_pipeline.predict.translate RUN --export generator.pt2
"""

import argparse
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
from ignite_pipeline.command_line import Parser, exit_on_bad_input, make_folder, named_path, number
from ignite_pipeline.data.images import UnreadableImage, progress, read_image
from ignite_pipeline.data.paired import split_pair
from ignite_pipeline.devices import PRECISIONS
from ignite_pipeline.errors import BadInput
from ignite_pipeline.output_files import write_output
from ignite_pipeline.predict.__main__ import export
from ignite_pipeline.predict.named_images import find_images
from ignite_pipeline.predict.rows import in_tabs
from ignite_pipeline.predict.sheet import COLUMNS, MOST, write_sheet
from ignite_pipeline.predict.trained_models import TrainedModel, load_trained
from ignite_pipeline.standard_streams import print_answer

PROG = "python -m ignite_pipeline.predict.translate"


def parser() -> Parser:
    """Return the parser of this tool's options."""
    parser = Parser(prog=PROG, description="Translate images with a trained generator.")
    add = parser.add_argument
    add("model", metavar="CHECKPOINT", help="a file, a run's directory (its best one), or a .pt2 program")
    add("images", metavar="IMAGE", nargs="*", help="files, folders and all below them, patterns in quotes")
    add("--output", metavar="DIR", type=named_path, help="gets a PNG for each image")
    add("--sheet", metavar="PNG", type=named_path, help="a picture of images and their translations")
    add("--pairs", action="store_true", help="the images are side-by-side pairs: take the source's half")
    add("--export", metavar="FILE", type=named_path, help="write the model: .pt2, .onnx, or .pt (weights)")
    add(
        "--seed",
        type=number(int, least=0, below=2**63),
        default=0,
        help="decides dropout (default: %(default)s)",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")
    add("--precision", choices=PRECISIONS, help="number format (default: that of the run)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Translate every image, print where it is, and say how many had to be resized."""
    with exit_on_bad_input(PROG, UnusableRun):
        options = parser().parse_args(argv)
        if not options.images and options.export is None:
            raise BadInput("name images to translate, or --export FILE")
        if options.images and options.output is None:
            raise BadInput("--output DIR must say where the translations go")
        targets = plan(find_images(options.images), Path(options.output)) if options.images else {}
        model = load_trained(options.model, device=options.device, precision=options.precision)
        if model.signature.kind != "image":
            raise BadInput(f"{options.model}: translates no images; use python -m ignite_pipeline.predict")
        if options.export is not None:
            export(model, options.export)
        if targets:
            make_folder(Path(options.output), option="--output")
            if translate_all(model, targets, options):
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
        if target.exists():
            raise BadInput(f"--output: {target} exists; choose another folder")
        targets[target] = image
    return targets


def translate_all(model: TrainedModel, targets: dict[Path, Path], options: argparse.Namespace) -> int:
    """Translate each image on its own, as in validation; return how many could not be read."""
    side, resized, unreadable = model.signature.preprocessing.image_size, 0, 0
    sheet: list[Tensor] = []
    bar = progress(total=len(targets), description="translating")
    with closing(bar), model.inferring():
        for target, path in targets.items():
            try:
                image = read_image(path)
            except UnreadableImage as error:
                bar.write(str(error), file=sys.stderr)
                unreadable += 1
                continue
            if options.pairs:
                image = split_pair(image, path)[1 if model.signature.outputs == ("A",) else 0]
            if image.size != (side, side):
                image, resized = image.resize((side, side), Image.Resampling.BICUBIC), resized + 1
            source = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            torch.manual_seed(options.seed)
            fake = translate(model, source)
            write_png(fake, target)
            bar.clear()
            print_answer(in_tabs(path, target))
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


def translate(model: TrainedModel, source: Tensor) -> Tensor:
    """Return the translation of an image ``(3, S, S)`` uint8, as such a one."""
    fake = model.answers_of(source.unsqueeze(0))[0]
    return ((fake + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def write_png(image: Tensor, path: Path) -> None:
    """Write an image ``(3, S, S)`` uint8 whole or not at all."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    write_output(path, partial(picture.save, format="PNG"), option="--output")


if __name__ == "__main__":
    main()
