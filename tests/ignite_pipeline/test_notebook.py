"""A recipe in a notebook, run through Jupyter's own client as a person's browser would."""

import json
import re

import nbformat
import pytest
from nbclient import NotebookClient

RECIPE = """
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.utils.data import Dataset
from handlers import StepMeans
from ignite_pipeline.run import Parser, Run, launch
from ignite_pipeline.steps import supervised_step

class Points(Dataset):
    def __len__(self):
        return 64
    def __getitem__(self, index):
        return torch.randn(2) + 2 * (index % 2), index % 2

def train(run: Run) -> None:
    loader = run.train_loader(Points(), batch_size=8)
    model = run.place(nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = Engine(supervised_step(model, optimizer, nn.functional.cross_entropy, compute=run.compute))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: at_each())
    save = {"model": model, "optimizer": optimizer}
    run.attach(trainer, measure=[StepMeans(every_iters=8)], save=save, show={"train/loss": "loss"})
    run.train(trainer, loader, epochs=3)

at_each = lambda: None
options = ["--visdom", "off", "--num-workers", "1"]
"""
DONE = 'launch(train, Parser(), ["--output", "done", *options], task="points")\nprint("and on")'
MISTAKE = 'launch(train, Parser(), ["--epochs", "3"], task="points")\nprint("and on")'
HELP = 'launch(train, Parser(), ["--help"], task="points")\nprint("and on")'
AGAIN = 'launch(train, Parser(), ["--output", "done", *options], task="points")'
# What the stop button does, in the third iteration: SIGINT to the kernel.
STOPPED = """
import itertools, os, signal
iterations = itertools.count(1)
at_each = lambda: os.kill(os.getpid(), signal.SIGINT) if next(iterations) == 3 else None
launch(train, Parser(), ["--output", "stopped", *options], task="points")
"""
RESUMED = """
at_each = lambda: None
launch(train, Parser(), ["--resume", "stopped"], task="points")
"""


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The folder of a notebook, and what stands below each of its cells."""
    folder = tmp_path_factory.mktemp("notebook")
    codes = [RECIPE, DONE, MISTAKE, AGAIN, HELP, STOPPED, RESUMED]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in codes])
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=120, allow_errors=True, resources=place)
    client.execute()
    return folder, [cell.outputs for cell in notebook.cells]


def text_of(outputs, name):
    return "".join(output.text for output in outputs if output.get("name") == name)


def errors_of(outputs):
    errors = [output for output in outputs if output.output_type == "error"]
    return [(error.ename, error.evalue, error.traceback) for error in errors]


def test_progress_and_picture_appear_and_the_cell_goes_on(cells):
    folder, (_, done, *_) = cells
    assert errors_of(done) == []
    assert re.search(r"epoch 3/3 .* 100%", text_of(done, "stderr"))
    assert "24 iterations in" in text_of(done, "stdout")
    assert "and on" in text_of(done, "stdout")
    (picture,) = (output.data for output in done if output.output_type == "display_data")
    assert len(picture["image/png"]) > 10_000
    assert json.loads((folder / "done" / "summary.json").read_text())["status"] == "completed"


@pytest.mark.parametrize(
    ("cell", "line"),
    [(2, "points: error: unrecognized arguments: --epochs 3"), (3, "/done already holds a run")],
)
def test_a_mistake_is_a_line_and_ends_the_cell(cells, cell, line):
    outputs = cells[1][cell]
    assert line in text_of(outputs, "stderr")
    assert errors_of(outputs) == [("CellEnded", "ended with status 2", ["ended with status 2"])]
    assert "and on" not in text_of(outputs, "stdout")


def test_help_ends_no_cell(cells):
    outputs = cells[1][4]
    assert errors_of(outputs) == []
    assert re.search(r"--num-workers(.|\n)*and on", text_of(outputs, "stdout"))


def test_the_stop_button_saves_and_another_cell_goes_on(cells):
    folder, (*_, stopped, resumed) = cells
    assert f"go on with --resume {folder / 'stopped'}" in text_of(stopped, "stderr")
    assert errors_of(stopped) == [("CellEnded", "ended with status 130", ["ended with status 130"])]
    assert errors_of(resumed) == []
    assert json.loads((folder / "stopped" / "config.json").read_text())["sessions"][1]["from_iteration"] == 3
    ended = json.loads((folder / "stopped" / "summary.json").read_text())
    assert (ended["status"], ended["iterations"], len(ended["sessions"])) == ("completed", 24, 2)
    whole = json.loads((folder / "done" / "summary.json").read_text())
    assert ended["model_sha256"] == whole["model_sha256"]
