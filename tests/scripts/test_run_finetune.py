"""Fine-tuning: what is frozen stays, kills and processes change no bit, and mistakes get one line."""

import csv
import functools
import json
import shutil

import pytest
import torch
import torchvision
from PIL import Image

import run_finetune
from handlers import load_newest
from handlers.files import read_metrics
from ignite_pipeline.evaluate import __main__ as evaluate
from ignite_pipeline.models.pretrained import head_of
from ignite_pipeline.predict import __main__ as predict
from tests.support import finetune_cases
from tests.support.finetune_cases import MODEL, SMALL
from tests.support.killing import run_recipe
from tests.support.runs import summary, untimed
from tests.support.several import run_several

EVERYTHING = ["--mixup", "0.2", "--cutmix", "1", "--rand-augment", "9", "--ema", "0.9", "--patience", "9"]
EVERYTHING += ["--clip-norm", "1", "--freeze-epochs", "1", "--balance", "sampling"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights that others have trained, or might have."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(torchvision.models.get_model(MODEL).state_dict(), path)
    return path


@pytest.fixture
def tune(photographs, weights, tmp_path):
    """Fine-tune in a process of its own, in a directory of that name."""

    def run(name, *options, kill_at=None, workers=0, processes=1, replicas=1):
        words = ["--data-root", str(photographs), "--weights", str(weights), *SMALL, *options]
        train = functools.partial(finetune_cases.train, words=words)
        directory = tmp_path / name
        own = ["--num-workers", workers]
        if not (directory / "config.json").exists():
            own += ["--replicas", replicas]
        if processes == 1:
            run_recipe(train, directory, *own, kill_at=kill_at)
        else:
            ended = run_several(train, directory, *own, processes=processes)
            assert ended.statuses == [0] * processes, ended.logs
        return directory

    return run


def rest_of(directory):
    """Return what the newest checkpoint has of the model, but for its head."""
    state = load_newest(directory / "checkpoints")["objects"]["model"]
    return {name: value for name, value in state.items() if name not in head_of(MODEL)}


@pytest.fixture
def as_given(weights):
    state = torch.load(weights)
    return {name: value for name, value in state.items() if name not in head_of(MODEL)}


def test_not_a_bit_of_what_is_frozen_changes(tune, as_given):
    rest = rest_of(tune("frozen", "--freeze", "all", "--weight-decay", "0.1"))
    assert rest.keys() == as_given.keys()
    assert all(torch.equal(rest[name], as_given[name]) for name in rest)


def test_all_is_trained_from_the_epoch_after_the_freeze_on(tune, as_given, tmp_path):
    directory = tune("run", "--freeze-epochs", "2", kill_at=15)  # in the third epoch
    before = rest_of(directory)
    assert all(torch.equal(before[name], as_given[name]) for name in before)
    after = rest_of(tune("run", "--freeze-epochs", "2"))
    assert not any(torch.equal(after[name], as_given[name]) for name in after)


@pytest.fixture(scope="module")
def undisturbed(photographs, weights, tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    words = ["--data-root", str(photographs), "--weights", str(weights), *SMALL, *EVERYTHING]
    run_recipe(functools.partial(finetune_cases.train, words=words), directory, "--replicas", 2)
    return directory


def test_a_checkpoint_alone_predicts_what_validation_counted(undisturbed, photographs, tmp_path):
    # The average of the weights, on photographs of all sizes and modes.
    newest = max((undisturbed / "checkpoints").iterdir())
    evaluate.main([str(newest), str(photographs), "--output", str(tmp_path / "out")])
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    last = [line for line in read_metrics(undisturbed) if line["kind"] == "epoch"][-1]
    assert found["values"]["accuracy"] == last["val/accuracy"]
    assert found["confusion"] == json.loads((undisturbed / "mistakes.json").read_text())["confusion"]


@pytest.mark.slow
@pytest.mark.parametrize(("kill_at", "workers"), [(6, 0), (8, 1), (16, 3)])
def test_a_kill_before_and_after_the_thaw_changes_nothing(tune, undisturbed, kill_at, workers):
    tune("run", *EVERYTHING, kill_at=kill_at, workers=workers, replicas=2)
    directory = tune("run", *EVERYTHING, workers=3 - workers)
    assert summary(directory)["model_sha256"] == summary(undisturbed)["model_sha256"]
    assert untimed(directory) == untimed(undisturbed)
    average, wanted = (
        load_newest(place / "checkpoints")["objects"]["WeightAverage"] for place in (directory, undisturbed)
    )
    assert all(torch.equal(average[name], wanted[name]) for name in wanted)


@pytest.mark.slow
def test_two_processes_train_the_same_bits(tune, undisturbed):
    directory = tune("run", *EVERYTHING, processes=2, replicas=2)
    assert summary(directory)["model_sha256"] == summary(undisturbed)["model_sha256"]
    assert untimed(directory) == untimed(undisturbed)


@pytest.mark.slow
def test_early_stopping_ends_a_run_at_the_same_epoch_through_a_kill_and_on_two_processes(tune):
    stopping = ["--patience", "1", "--epochs", "9", "--lr", "1e-12"]  # nothing gets better
    tune("killed", *stopping, kill_at=9, replicas=2)
    whole = untimed(tune("whole", *stopping, replicas=2))
    assert whole[-1]["epoch"] < 9
    assert untimed(tune("killed", *stopping)) == whole
    assert untimed(tune("two", *stopping, replicas=2, processes=2)) == whole


def test_the_averaged_weights_are_what_is_evaluated(undisturbed):
    last = untimed(undisturbed)[-1]
    assert {"val/accuracy", "val/loss", "val/unaveraged_accuracy", "val/unaveraged_loss"} <= last.keys()
    assert last["val/loss"] != last["val/unaveraged_loss"]


def table(photographs, path, header, target):
    rows = [f"{file.relative_to(photographs)},{target(file)}" for file in sorted(photographs.rglob("*.*"))]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("header", "target", "metric"),
    [
        ("file,kind", lambda file: file.parent.name, "accuracy"),
        ("file,flies,sings", lambda file: f"1,{int(file.parent.name == 'bird')}", "subset_accuracy"),
        (
            "file,size,height",
            lambda file: f"{len(file.name) / 3},{int(file.stem) % 7}",
            "mean_absolute_error",
        ),
    ],
)
def test_a_table_of_classes_labels_or_numbers(photographs, tmp_path, capsys, header, target, metric):
    path = table(
        photographs,
        tmp_path / "targets.csv",
        f"{header},split",
        lambda file: f"{target(file)},{file.parents[1].name}",
    )
    words = ["--data-root", str(photographs), "--targets", str(path), "--weights", "none", *SMALL]
    run_finetune.main([*words, "--output", str(tmp_path / "run"), "--visdom", "off", "--epochs", "1"])
    value = untimed(tmp_path / "run")[-1][f"val/{metric}"]
    assert summary(tmp_path / "run")["best"]["metric"] == f"val/{metric}"
    capsys.readouterr()
    predict.main([str(tmp_path / "run"), str(photographs / "test"), "--format", "csv"])
    (first, *_), *rows = csv.reader(capsys.readouterr().out.splitlines())
    assert (first, len(rows)) == ("file", 22)
    evaluate.main(
        [str(tmp_path / "run"), str(photographs), "--targets", str(path), "--output", str(tmp_path / "e")]
    )
    found = json.loads((tmp_path / "e" / "evaluation.json").read_text())["values"][metric]
    assert found == pytest.approx(value, rel=1e-6)  # sums in another order


def test_the_search_for_a_rate_draws_its_curve_and_leaves_nothing_else(photographs, tmp_path, capsys):
    words = ["--data-root", str(photographs), "--weights", "none", *SMALL, "--find-lr", "--visdom", "off"]
    run_finetune.main([*words, "--output", str(tmp_path / "run")])
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["learning_rates.png"]
    with Image.open(tmp_path / "run" / "learning_rates.png") as image:
        assert len(image.convert("RGB").getcolors(100_000)) > 50
    assert "the loss falls fastest at" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--data-root", "{tmp}/nowhere"], "{tmp}/nowhere: no such folder"),
        (
            ["--data-root", "{tmp}/one"],
            "{tmp}/one: needs a folder for each of two or more classes, has only a",
        ),
        (["--data-root", "{tmp}/empty"], "{tmp}/empty/b: holds no image"),
        (["--data-root", "{tmp}/text"], "{tmp}/text/train/airplane/0000.jpg: not a readable image"),
        (["--weights", "{tmp}/nowhere.pth"], "{tmp}/nowhere.pth: no such file"),
        (["--weights", "{tmp}/text.pth"], "{tmp}/text.pth: not a file that torch.save has written"),
        (["--weights", "{tmp}/other.pth"], "{tmp}/other.pth: "),
        (["--model", "resnet17"], "--model resnet17: no classifier of torchvision; try resnet18"),
        (["--model", "vit_b_16"], "--image-size 32: vit_b_16 takes no such images"),
        (["--freeze", "all", "--freeze-epochs", "1"], "--freeze all trains the head alone to the end"),
        (["--layer-decay", "1.5"], "argument --layer-decay: must be a number above 0 and at most 1, got 1.5"),
        (["--targets", "{tmp}/nowhere.csv"], "{tmp}/nowhere.csv: cannot be read"),
        (["--weights", ""], "argument --weights: must name a file or a folder, got ''"),
        (["--data-root", ""], "argument --data-root: must name a file or a folder, got ''"),
        (
            ["--data-root", "{tmp}", "--output", "{tmp}/run"],
            "{tmp}/run would lie in --data-root {tmp}, where",
        ),
        (["--rand-augment", "31"], "must be a whole number at least 1 and at most 30, got 31"),
        (["--mixup", "1e-300"], "must be a number at least 0.001, got 1e-300"),
        (
            ["--batch-size", "1"],
            "--batch-size 1 with --replicas 1 and --micro-batches 1 leaves single samples",
        ),
        (["--micro-batches", "10"], "--batch-size 10 with --replicas 1 and --micro-batches 10 leaves single"),
        (["--micro-batches", "4"], "--batch-size 10 with --replicas 1 and --micro-batches 4 leaves single"),
        (
            ["--replicas", "2", "--micro-batches", "5"],
            "with --replicas 2 and --micro-batches 5 leaves single",
        ),
        (["--image-size", "9000"], "must be a whole number at least 8 and at most 8192, got 9000"),
        (
            ["--targets", "{tmp}/sizes.csv", "--label-smoothing", "0.1"],
            "--label-smoothing must be 0: {tmp}/sizes.csv holds numbers",
        ),
        (
            ["--targets", "{tmp}/sizes.csv", "--mixup", "0.2"],
            "--mixup must be left out: {tmp}/sizes.csv holds numbers",
        ),
        (["--targets", "{tmp}/text.pth"], "{tmp}/text.pth: needs a first line that names a column of files"),
    ],
)
def test_mistakes_get_one_line_and_write_nothing(photographs, tmp_path, capsys, options, line):
    (tmp_path / "one" / "a").mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "empty" / name).mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "empty" / "a" / "1.png")
    shutil.copytree(photographs, tmp_path / "text")
    for path in (tmp_path / "text").rglob("*.*"):
        path.write_text("no image")
    (tmp_path / "text.pth").write_text("no weights")
    table(photographs, tmp_path / "sizes.csv", "file,size", lambda file: f"{len(file.name)}.5")
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "other.pth")
    given = [text.format(tmp=tmp_path) for text in options]
    defaults = ["--data-root", str(photographs), "--weights", "none", *SMALL, "--visdom", "off"]
    with pytest.raises(SystemExit) as ended:
        run_finetune.main([*defaults, "--output", str(tmp_path / "run"), *given])
    assert ended.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert line.format(tmp=tmp_path) in lines[-1]
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_one_run_is_the_beginning_of_another(photographs, undisturbed, tmp_path):
    checkpoint = max((undisturbed / "checkpoints").iterdir())
    words = ["--data-root", str(photographs), "--weights", str(checkpoint), *SMALL, "--freeze", "all"]
    run_finetune.main([*words, "--output", str(tmp_path / "run"), "--visdom", "off", "--epochs", "1"])
    rest, given = rest_of(tmp_path / "run"), rest_of(undisturbed)
    assert all(torch.equal(rest[name], given[name]) for name in given)


def test_a_class_without_a_readable_photograph_is_refused(photographs, tmp_path, capsys):
    root = shutil.copytree(photographs, tmp_path / "photographs")
    for path in (root / "train" / "bird").iterdir():
        path.write_text("no image")
    words = ["--data-root", str(root), "--weights", "none", *SMALL, "--output", str(tmp_path / "run")]
    with pytest.raises(SystemExit):
        run_finetune.main([*words, "--visdom", "off", "--on-bad-sample", "skip"])
    assert "class bird: none of its images can be read (" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_photographs_are_skipped_in_training_and_left_out_of_validation(
    photographs, tmp_path, capsys, workers
):
    root = shutil.copytree(photographs, tmp_path / "photographs")
    for name in ("train/bird/0003.jpeg", "test/bird/0003.jpeg", "test/airplane/0000.jpg"):
        (root / name).write_text("no image")
    words = ["--data-root", str(root), "--weights", "none", *SMALL, "--storage", "files", "--epochs", "2"]
    words += ["--output", str(tmp_path / "run"), "--visdom", "off", "--num-workers", str(workers)]
    run_finetune.main([*words, "--on-bad-sample", "skip"])
    said = capsys.readouterr().err
    assert "1 samples could not be read, and others stood in for them: 36" in said
    assert "2 samples could not be read, and validation left them out: 0, 14" in said
    accuracy = untimed(tmp_path / "run")[-1]["val/accuracy"]
    assert (20 * accuracy) == pytest.approx(round(20 * accuracy))
