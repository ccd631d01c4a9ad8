"""Pictures of classes and folders whose names Matplotlib would take for formulas, or cannot show."""

import json

import pytest
import torch

from handlers import plot_report
from ignite_pipeline.evaluate.figures import of_classes
from ignite_pipeline.evaluate.picture import draw
from ignite_pipeline.predict.sheet import write_sheet

NAMES = [r"$\nope$", "caf\udce9"]
IMAGE = torch.zeros(3, 8, 8, dtype=torch.uint8)


def of_run(path):
    directory = path.with_name(NAMES[1] + NAMES[0])
    directory.mkdir()
    (directory / "summary.json").write_text('{"status": "completed"}')
    line = {"kind": "epoch", "epoch": 1, "iteration": 1, f"val/{NAMES[0]}": 1}
    labelled = {f"val/recall/{name}": 1 for name in NAMES}
    (directory / "metrics.jsonl").write_text(json.dumps(line | labelled))
    found = {"classes": NAMES, "confusion": [[1, 1], [0, 1]], "most_confident_errors": []}
    (directory / "mistakes.json").write_text(json.dumps(found))
    plot_report(directory).rename(path)


def of_evaluation(path):
    figures = of_classes(torch.tensor([[0.1, 0.9]]).log(), torch.tensor([0]), NAMES, ["a"])
    draw(figures, NAMES, [IMAGE], path, title=" ".join(NAMES))


def of_predictions(path):
    write_sheet([IMAGE], [" ".join(NAMES)], path, option="--output", title=" ".join(NAMES))


@pytest.mark.parametrize("draw_it", [of_run, of_evaluation, of_predictions])
def test_any_name_is_drawn(draw_it, tmp_path):
    draw_it(tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").stat().st_size > 1000
