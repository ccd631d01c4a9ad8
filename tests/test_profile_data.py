import json

import pytest

from ignite_pipeline.profiling import __main__ as profile_data

MINE = """
import time
import torch
from torch.utils.data import Dataset
from torchvision import transforms

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

def broken():
    raise TypeError("it is broken")
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "slow_images.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*options):
    profile_data.main(["--seconds", "0.1", *options])


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
    assert "num_workers=0" not in profile["recommended"]
    assert profile["confirmed"]["speedup"] > 1.5
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


def test_a_data_set_alone_gets_the_best_loader(mine, capsys):
    run("--dataset-factory", "slow_images:dataset", "--batch-size", "4")
    assert "take" in capsys.readouterr().out
    assert "confirmed" not in json.loads((mine / "profile.json").read_text())


def test_a_task_of_ours_needs_nothing_else(mine, capsys):
    run("--task", "cifar2", "--seconds", "0.01")
    assert "step alone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "give either --task or --dataset-factory"),
        (["--task", "cifar2", "--dataset-factory", "a:b"], "give either --task or --dataset-factory"),
        (["--dataset-factory", "nowhere:f"], "--dataset-factory nowhere:f: No module named 'nowhere'"),
        (["--dataset-factory", "slow_images:nothing"], "slow_images:nothing: module 'slow_images' has no"),
        (["--dataset-factory", "slow_images:broken"], "slow_images:broken: it is broken"),
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
