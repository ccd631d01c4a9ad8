"""Measure a trained model on images with known answers.

python -m ignite_pipeline.evaluate RUN photos                  # evaluation/photos: evaluation.json and .png
python -m ignite_pipeline.evaluate CHECKPOINT photos/test --output elsewhere
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
from ignite_pipeline.command_line import Parser, exit_on_bad_input, make_folder, named_path, require_outside
from ignite_pipeline.data.images import progress
from ignite_pipeline.errors import BadInput
from ignite_pipeline.evaluate.figures import Figures, of_classes, of_labels, of_numbers
from ignite_pipeline.evaluate.labelled_data import LabelledData, find_labelled
from ignite_pipeline.evaluate.picture import draw
from ignite_pipeline.evaluate.translations import evaluate_translations
from ignite_pipeline.output_files import write_output
from ignite_pipeline.predict.__main__ import add_where
from ignite_pipeline.predict.batches import read_in_batches
from ignite_pipeline.predict.sheet import write_sheet
from ignite_pipeline.predict.trained_models import TrainedModel, load_trained
from ignite_pipeline.standard_streams import print_answer

PROG = "python -m ignite_pipeline.evaluate"


def parser() -> Parser:
    """Return the parser of this tool's options."""
    parser = Parser(prog=PROG, description="Measure a trained model on images with known answers.")
    add = parser.add_argument
    add("model", metavar="CHECKPOINT", help="a file, a run's directory (its best one), or a .pt2 program")
    add("data", metavar="DATA", type=named_path, help="folders of the classes, or val/ or test/ with these")
    add("--targets", metavar="CSV", type=named_path, help="a table of files and classes, for folders")
    add("--output", metavar="DIR", type=named_path, help="(default: evaluation/NAME)")
    add("--inception", metavar="FILE", type=named_path, help="weights of Inception v3, for a generator's FID")
    add_where(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the figures, and write them and a picture of them down."""
    with exit_on_bad_input(PROG, UnusableRun):
        options = parser().parse_args(argv)
        root = Path(options.data)
        name = os.path.basename(os.path.realpath(root)) or "images"
        output = Path(options.output or Path("evaluation", name))
        require_outside(output, root)
        model = load_trained(options.model, device=options.device, precision=options.precision)
        if model.signature.kind == "image":
            figures, unreadable = evaluate_generator(model, root, output, options), 0
        else:
            figures, unreadable = evaluate_images(model, root, output, options)
        print_answer("\n".join(as_text(figures, model)))
        print_answer(f"\n{output}: evaluation.json" + (" and evaluation.png" if has_picture(model) else ""))
        if unreadable:
            sys.exit(2)


def has_picture(model: TrainedModel) -> bool:
    """Return whether there is something to draw."""
    return model.signature.kind in ("classes", "image")


def evaluate_generator(model: TrainedModel, root: Path, output: Path, options: argparse.Namespace) -> Figures:
    """Measure translations; write ``evaluation.json`` and ``evaluation.png``."""
    figures, shown = evaluate_translations(model, root, inception=options.inception)
    make_folder(output, option="--output")
    captions, path = ["source", "translation", "target"], output / "evaluation.png"
    write_sheet(shown, captions, path, option="--output", title=model.title, columns=3)
    write_json(figures, model, root, output, unreadable=0)
    return figures


def evaluate_images(
    model: TrainedModel, root: Path, output: Path, options: argparse.Namespace
) -> tuple[Figures, int]:
    """Measure answers; write ``evaluation.json`` and ``evaluation.png``; count the unreadable images."""
    data = find_labelled(root, model.signature, targets=options.targets)
    y_pred, places, unreadable = predictions(model, data, options.batch_size)
    if not places:
        raise BadInput(f"{root}: none of its {len(data)} images can be read")
    y, names = data.targets[torch.tensor(places)], [data.names[place] for place in places]
    if model.signature.kind == "classes":
        figures = of_classes(y_pred, y, model.signature.outputs, names)
    elif model.signature.kind == "labels":
        figures = of_labels(y_pred, y, model.signature.outputs)
    else:
        figures = of_numbers(y_pred, y)
    make_folder(output, option="--output")
    if model.signature.kind == "classes":
        worst = [read(model, data, places[wrong.place]) for wrong in figures.worst]
        title = f"{model.title}: accuracy {figures.values['accuracy']:.4f} on {figures.images:,} images"
        draw_it = partial(draw, figures, model.signature.outputs, worst, title=title)
        write_output(output / "evaluation.png", draw_it, option="--output")
    write_json(figures, model, root, output, unreadable=unreadable)
    return figures, unreadable


def read(model: TrainedModel, data: LabelledData, place: int) -> Tensor:
    """Return one image as the model takes it."""
    return model.signature.preprocessing.cut(data.images[place][0])


def predictions(
    model: TrainedModel, data: LabelledData, batch_size: int | None
) -> tuple[Tensor, list[int], int]:
    """Return log-probabilities, or other answers; the places of these images; how many have none."""
    rows, places, unreadable = list[Tensor](), list[int](), 0
    batch_size = batch_size or model.signature.batch_size
    bar = progress(total=len(data), description="evaluating")
    with bar, model.inferring():
        for batch in read_in_batches(range(len(data)), partial(read, model, data), batch_size=batch_size):
            if batch.items:
                rows.append(model.log_answers_of(batch.images))
            places += batch.items
            unreadable += batch.unreadable
            bar.update(len(batch.items) + batch.unreadable)
    return torch.cat(rows) if rows else torch.empty(0), places, unreadable


def as_text(figures: Figures, model: TrainedModel) -> list[str]:
    """Return the figures as lines: those of all images, then a row for each class."""
    lines = [f"{figures.images:,} images, {model.source}"]
    values = {name: "-" if value is None else f"{value:.4f}" for name, value in figures.values.items()}
    lines += [f"{name.replace('_', ' '):<24} {value}" for name, value in values.items() if "/" not in name]
    if by_class := [name for name in values if name.startswith("precision/")]:
        names = [name.removeprefix("precision/") for name in by_class]
        width = max(len("class"), *map(len, names))
        lines += ["", f"{'class':<{width}}  precision  recall"]
        for name in names:
            precision, recall = values[f"precision/{name}"], values[f"recall/{name}"]
            lines.append(f"{name:<{width}}  {precision:>9}  {recall:>6}")
        if missing := [name for name in names if figures.values[f"recall/{name}"] is None]:
            lines += ["", f"no image shows {', '.join(missing)}: how many of these are found is not known"]
    return lines


def write_json(figures: Figures, model: TrainedModel, root: Path, output: Path, *, unreadable: int) -> None:
    """Write ``evaluation.json``."""
    content = {"model": str(model.source), "data": str(root), "unreadable": unreadable, **figures.as_json()}
    text = json.dumps(content, indent=2) + "\n"
    write_output(output / "evaluation.json", lambda path: path.write_text(text), option="--output")


if __name__ == "__main__":
    main()
