import json

import pytest

import profile_data
import run_cifar2
from ignite_pipeline.profiling import __main__ as profiler
from ignite_pipeline.profiling import tuning
from tests.support.drawn import write_tree

MINE = """
import time
import torch
from torch.utils.data import Dataset
from torchvision import transforms
from torchvision.datasets import VisionDataset

class Slow(Dataset):
    transform = transforms.Compose([transforms.CenterCrop(8), transforms.ToTensor()])
    def __len__(self):
        return 64
    def __getitem__(self, index):
        from PIL import Image
        time.sleep(0.004)
        image = Image.new("RGB", (16, 16))
        return self.transform(image) if self.transform else image

def dataset():
    return Slow()

def step():
    return lambda engine, batch: time.sleep(0.004)

class Ours(VisionDataset):
    def __len__(self):
        return 64
    def __getitem__(self, index):
        from PIL import Image
        image = Image.new("RGB", (16, 16))
        return self.transforms(image, 0) if self.transforms else (image, 0)

def ours():
    return Ours(transform=transforms.Compose([transforms.CenterCrop(8), transforms.ToTensor()]))

def unreadable():
    from ignite_pipeline.data.image_files import UnreadableImage
    class Cut(Slow):
        def __getitem__(self, index):
            raise UnreadableImage("cut.jpg: broken off")
    return Cut()

def small_step():
    def step(engine, batch):
        if len(batch) > 8:
            raise torch.OutOfMemoryError("it is full")
        time.sleep(0.001)
    return step

def broken(size):
    raise TypeError("it is broken")
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of a user's, and a machine on which each worker makes a loop quicker by a known amount."""

    def seconds(dataset, step_or_setting, *rest, **options):
        setting = rest[0] if rest else step_or_setting
        return 0.02 / (1 + setting.num_workers)

    monkeypatch.setattr(tuning, "loop_s", seconds)
    monkeypatch.setattr(tuning, "loader_s", seconds)
    (tmp_path / "slow_images.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*options):
    profiler.main(["--seconds", "0.1", *options])


def test_a_data_set_of_ones_own_gets_a_verdict_a_setting_and_its_confirmation(mine, capsys):
    run(
        *("--dataset-factory", "slow_images:dataset", "--step-factory", "slow_images:step"),
        *("--batch-size", "4", "--output", "profile"),
    )
    text = capsys.readouterr().out
    profile = json.loads((mine / "profile" / "profile.json").read_text())
    assert [cost["name"] for cost in profile["transforms"]] == ["CenterCrop", "ToTensor"]
    assert profile["transforms"][1]["output"] == "float32 3×8×8"
    assert profile["now"]["verdict"] == "data-bound"
    workers = max(one.num_workers for one in tuning.candidates(4))
    assert profile["recommended"].startswith(f"num_workers={workers}")
    assert profile["confirmed"]["speedup"] == pytest.approx(1 + workers)
    assert len(profile["confirmed"]["pairs_s"]) == 5
    assert profile["cache"]["decoded_gb"] == pytest.approx(64 * 16 * 16 * 3 / 1e9)
    assert (mine / "profile" / "profile.png").stat().st_size > 5000
    for words in (
        "data-bound",
        f"take             {profile['recommended']}",
        "confirmed",
        "keep it in memory",
    ):
        assert words in text


def test_transforms_that_torchvision_holds_twice_are_each_charged_once(mine):
    run("--dataset-factory", "slow_images:ours", "--batch-size", "4")
    profile = json.loads((mine / "profile.json").read_text())
    outputs = {cost["name"]: cost["output"] for cost in profile["transforms"]}
    assert outputs == {"CenterCrop": "RGB image 8×8", "ToTensor": "float32 3×8×8"}


def test_a_batch_size_that_does_not_fit_is_left_out(mine, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(mine)
    factories = ["--dataset-factory", "slow_images:dataset", "--step-factory", "slow_images:small_step"]
    run(*factories, "--batch-size", "4", "--seconds", "0.01")
    assert list(json.loads((mine / "profile.json").read_text())["batch_sizes"]) == ["2", "4", "8"]


def test_a_data_set_alone_gets_the_best_loader(mine, capsys):
    run("--dataset-factory", "slow_images:dataset", "--batch-size", "4")
    assert "take" in capsys.readouterr().out
    assert "confirmed" not in json.loads((mine / "profile.json").read_text())


def test_a_task_of_ours_is_profiled_as_its_script_trains_it(mine, tmp_path, capsys):
    root = write_tree(tmp_path / "images", {"train": 64, "val": 1})
    profile_data.main(
        ["--seconds", "0.01", "--task", "cifar2", "--data-root", str(root), "--precision", "fp32"]
    )
    assert "step alone" in capsys.readouterr().out
    profile = json.loads((mine / "profile.json").read_text())
    assert (profile["batch_size"], profile["samples"]) == (run_cifar2.RECIPES["resnet"].batch_size, 128)
    assert not (mine / "runs").exists()


RECIPE = """
from ignite.engine import Engine
from torch import nn, optim
from ignite_pipeline.run import Parser
from ignite_pipeline.steps import supervised_step
from torch.utils.data import TensorDataset
import torch

def parser():
    parser = Parser()
    parser.add_argument("--samples", type=int, default=40)
    return parser

def train(run):
    data = TensorDataset(torch.randn(run.options.samples, 3), torch.zeros(run.options.samples).long())
    loader = run.train_loader(data, batch_size=20)
    model = run.place(nn.Linear(3, 2))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=3)
    loss = nn.functional.cross_entropy
    trainer = Engine(supervised_step(model, optimizer, loss, schedule=schedule, compute=run.compute))
    run.attach(trainer, save={"model": model, "optimizer": optimizer})
    run.train(trainer, loader, epochs=1)
"""


def test_a_recipe_of_ones_own_is_profiled_with_its_own_options(mine, capsys):
    (mine / "linear_recipe.py").write_text(RECIPE)
    run("--recipe", "linear_recipe", "--samples", "60", "--seconds", "0.01")
    profile = json.loads((mine / "profile.json").read_text())
    assert (profile["batch_size"], profile["samples"]) == (20, 60)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "give one of --recipe and --dataset-factory"),
        (["--recipe", "r", "--dataset-factory", "a:b"], "give one of --recipe and --dataset-factory"),
        (["--recipe", "./slow_images.py"], "--recipe ./slow_images.py: must be the name of a module"),
        (["--recipe", ""], "--recipe : must be the name of a module"),
        (["--recipe", "slow_images", "--step-factory", "a:b"], "--step-factory goes with --dataset-factory"),
        (["--recipe", "nowhere"], "--recipe nowhere: No module named 'nowhere'"),
        (["--recipe", "slow_images"], "slow_images: module 'slow_images' has no attribute 'train'"),
        (["--dataset-factory", "slow_images:dataset", "--lr", "1"], "unrecognized arguments: --lr 1"),
        (["--dataset-factory", "nowhere:f"], "--dataset-factory nowhere: No module named 'nowhere'"),
        (["--dataset-factory", "slow_images:nothing"], "slow_images:nothing: module 'slow_images' has no"),
        (
            ["--dataset-factory", "slow_images:broken"],
            "slow_images:broken: missing a required argument: 'size'",
        ),
        (["--dataset-factory", "slow_images:dataset", "--batch-size", "65"], "is more than the 64 samples"),
    ],
)
def test_bad_input_is_one_line(mine, options, words, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(*options)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
