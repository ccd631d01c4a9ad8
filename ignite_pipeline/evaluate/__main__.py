"""Measure a trained model on labelled images.

python -m ignite_pipeline.evaluate RUN photos              # into evaluation/RUN/CHECKPOINT/photos
python -m ignite_pipeline.evaluate RUN/checkpoints/checkpoint_00000960.pt photos/test --output elsewhere
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from handlers.errors import UnusableRun
from ignite_pipeline.command_line import Parser, exit_on_bad_input, made_folder, named_path, require_outside
from ignite_pipeline.data.images import progress
from ignite_pipeline.errors import BadInput
from ignite_pipeline.evaluate.figures import Figures, of_classes, of_labels, of_numbers
from ignite_pipeline.evaluate.labelled_data import LabelledData, find_labelled
from ignite_pipeline.evaluate.picture import draw
from ignite_pipeline.evaluate.translations import evaluate_translations
from ignite_pipeline.output_files import write_output
from ignite_pipeline.predict.batches import read_in_batches
from ignite_pipeline.predict.options import add_batch_size, add_device_options, add_model
from ignite_pipeline.predict.sheet import write_sheet
from ignite_pipeline.predict.trained_models import TrainedModel, load_trained
from ignite_pipeline.standard_streams import print_answer

PROG = "python -m ignite_pipeline.evaluate"


def parser() -> Parser:
    """Return the parser of this tool's options."""
    parser = Parser(prog=PROG, description="Measure a trained model on labelled images.")
    add = parser.add_argument
    add_model(parser)
    add("data", metavar="DATA", type=named_path, help="folders of the classes, or val/ or test/ with these")
    add("--targets", metavar="CSV", type=named_path, help="a table of files, in place of folders")
    add(
        "--output",
        metavar="DIR",
        type=named_path,
        help="folder of evaluation.json and evaluation.png (default: evaluation/RUN/CHECKPOINT/NAME)",
    )
    add("--inception", metavar="FILE", type=named_path, help="weights of Inception v3, for a generator's FID")
    add_device_options(parser)
    add_batch_size(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the figures, and write them and a picture of them down."""
    with exit_on_bad_input(PROG, UnusableRun):
        options = parser().parse_args(argv)
        root = Path(options.data)
        model = load_trained(options.model, device=options.device, precision=options.precision)
        require_applicable(options, model)
        output = Path(options.output) if options.output else default_output(model, root)
        require_outside(output, root, option="DATA")
        with made_folder(output, option="--output"):
            measure = evaluate_generator if model.signature.kind == "image" else evaluate_images
            figures, unreadable = measure(model, root, output, options)
        print_answer("\n".join(as_text(figures, model)))
        print_answer(f"\n{output}: evaluation.json" + (" and evaluation.png" if has_picture(model) else ""))
        if unreadable:
            sys.exit(2)


def require_applicable(options: argparse.Namespace, model: TrainedModel) -> None:
    """Raise `BadInput` for an option that has no meaning for a model of this kind."""
    translates = model.signature.kind == "image"
    for name in ("targets", "batch_size") if translates else ("inception",):
        if getattr(options, name) is not None:
            what = "one that translates images" if translates else f"one of {model.signature.kind}"
            raise BadInput(f"--{name.replace('_', '-')} has no meaning for {options.model}, {what}")


def default_output(model: TrainedModel, root: Path) -> Path:
    """Return a folder that is that of this checkpoint, and of data of this name.

    >>> from types import SimpleNamespace
    >>> checkpoint = SimpleNamespace(source=Path("/runs/first/checkpoints/checkpoint_00000010.pt"))
    >>> str(default_output(checkpoint, Path("/photos/test")))
    'evaluation/first/checkpoint_00000010/test'
    """
    names = [name for name in model.source.resolve().with_suffix("").parts[1:] if name != "checkpoints"]
    return Path("evaluation", *names[-2:], os.path.basename(os.path.realpath(root)) or "images")


def has_picture(model: TrainedModel) -> bool:
    """Return whether there is something to draw."""
    return model.signature.kind in ("classes", "image")


def evaluate_generator(
    model: TrainedModel, root: Path, output: Path, options: argparse.Namespace
) -> tuple[Figures, int]:
    """Measure translations; write ``evaluation.json`` and ``evaluation.png``; count the unreadable pairs."""
    figures, shown, unreadable = evaluate_translations(model, root, inception=options.inception)
    captions, path = ["source", "translation", "target"], output / "evaluation.png"
    write_sheet(shown, captions, path, option="--output", title=model.title, columns=3)
    write_json(figures, model, root, output, unreadable=unreadable)
    return figures, unreadable


def evaluate_images(
    model: TrainedModel, root: Path, output: Path, options: argparse.Namespace
) -> tuple[Figures, int]:
    """Measure predictions; write ``evaluation.json`` and ``evaluation.png``; count the unreadable images."""
    data = find_labelled(root, model.signature, targets=options.targets)
    y_pred, indices, unreadable = predictions(model, data, options.batch_size)
    if not indices:
        raise BadInput(f"{root}: none of its {len(data)} images can be read")
    y, names = data.targets[torch.tensor(indices)], [data.names[index] for index in indices]
    if model.signature.kind == "classes":
        figures = of_classes(y_pred, y, model.signature.outputs, names)
    elif model.signature.kind == "labels":
        figures = of_labels(y_pred, y, model.signature.outputs)
    else:
        figures = of_numbers(y_pred, y, model.signature.outputs)
    if model.signature.kind == "classes":
        images = [read(model, data, indices[error.index]) for error in figures.most_confident_errors]
        title = f"{model.title}: accuracy {figures.values['accuracy']:.4f} on {figures.images:,} images"
        draw_it = partial(draw, figures, model.signature.outputs, images, title=title)
        write_output(output / "evaluation.png", draw_it, option="--output")
    write_json(figures, model, root, output, unreadable=unreadable)
    return figures, unreadable


def read(model: TrainedModel, data: LabelledData, index: int) -> Tensor:
    """Return one image as the model takes it."""
    return model.signature.preprocessing.apply(data.images[index][0])


def predictions(
    model: TrainedModel, data: LabelledData, batch_size: int | None
) -> tuple[Tensor, list[int], int]:
    """Return log-probabilities, or other predictions; the indices of these images; how many have none."""
    rows, indices, unreadable = list[Tensor](), list[int](), 0
    batch_size = batch_size or model.signature.batch_size
    predict = model.log_probabilities if model.signature.kind == "classes" else model.predict
    bar = progress(total=len(data), description="evaluating")
    with bar, model.inferring():
        for batch in read_in_batches(range(len(data)), partial(read, model, data), batch_size=batch_size):
            if batch.items:
                rows.append(predict(batch.images))
            indices += batch.items
            unreadable += batch.unreadable
            bar.update(len(batch.items) + batch.unreadable)
    return torch.cat(rows) if rows else torch.empty(0), indices, unreadable


def as_text(figures: Figures, model: TrainedModel) -> list[str]:
    """Return the figures as lines: those of all images, then a row for each class or number."""
    lines = [f"{figures.images:,} images, {model.source}"]
    shown = {name: "-" if value is None else f"{value:.4f}" for name, value in figures.values.items()}
    lines += [f"{name.replace('_', ' '):<24} {value}" for name, value in shown.items() if "/" not in name]
    of_each: dict[str, dict[str, str]] = {}
    for quantity, slash, name in (name.partition("/") for name in shown):
        if slash:
            of_each.setdefault(name, {})[quantity] = shown[f"{quantity}/{name}"]
    if of_each:
        quantities, width = list(next(iter(of_each.values()))), max(map(len, of_each))
        lines += ["", "  ".join([" " * width, *(quantity.replace("_", " ") for quantity in quantities)])]
        for name, values in of_each.items():
            columns = [f"{values[quantity]:>{len(quantity)}}" for quantity in quantities]
            lines.append("  ".join([f"{name:<{width}}", *columns]))
    if missing := [name for name in of_each if figures.values.get(f"recall/{name}", 0) is None]:
        lines += ["", f"no image shows {', '.join(missing)}: how many of these are found is not known"]
    return lines


def write_json(figures: Figures, model: TrainedModel, root: Path, output: Path, *, unreadable: int) -> None:
    """Write ``evaluation.json``."""
    content = {"model": str(model.source), "data": str(root), "unreadable": unreadable, **figures.as_json()}
    text = json.dumps(content, indent=2) + "\n"
    write_output(output / "evaluation.json", lambda path: path.write_text(text), option="--output")


if __name__ == "__main__":
    main()
