"""The confusion matrix, and the most confident errors, counted by hand."""

import json
import os

import pytest
import torch
from ignite.engine import Engine, Events
from PIL import Image

from handlers import Mistakes
from handlers.report_pictures import ConfusionPicture, Samples, pictures_of
from handlers.surest_errors import MOST


def evaluated(batches, classes=("day", "night"), **options):
    evaluator = Engine(lambda engine, batch: {"y_pred": batch[0], "y": batch[1]})
    mistakes = Mistakes(classes, **options).attach(evaluator)
    evaluator.run(batches)
    return evaluator, mistakes


def logits(*probabilities_of_second):
    second = torch.tensor(probabilities_of_second)
    return torch.stack([1 - second, second], 1).log()


BATCHES = [
    (logits(0.1, 0.7, 0.8), torch.tensor([0, 0, 1])),
    (logits(0.05, 0.4), torch.tensor([1, 1])),
]


def test_classes_are_counted_over_batches_and_errors_come_surest_first():
    _, mistakes = evaluated(BATCHES)
    found = mistakes.found()
    assert found["confusion"] == [[1, 1], [2, 1]]
    errors = found["most_confident_errors"]
    assert [(one["index"], one["true"], one["predicted"]) for one in errors] == [
        (3, "night", "day"),
        (1, "day", "night"),
        (4, "night", "day"),
    ]
    assert [one["probability"] for one in errors] == pytest.approx([0.95, 0.7, 0.6], abs=1e-6)


def test_only_the_last_evaluation_counts():
    evaluator, mistakes = evaluated(BATCHES)
    evaluator.run([(logits(0.9), torch.tensor([1]))])
    assert mistakes.found()["confusion"] == [[0, 0], [0, 1]]
    assert mistakes.found()["most_confident_errors"] == []


def test_an_evaluation_that_was_cut_off_does_not_count():
    evaluator, mistakes = evaluated(BATCHES)
    whole = mistakes.found()

    def interrupt():
        raise KeyboardInterrupt

    evaluator.add_event_handler(Events.ITERATION_COMPLETED(once=2), interrupt)
    with pytest.raises(KeyboardInterrupt):
        evaluator.run(BATCHES[::-1])
    assert mistakes.found() == whole


def test_what_has_no_class_is_left_out_and_nan_is_no_confident_error():
    three_outputs = torch.tensor([[0.0, 1, 9], [9, 0, 1], [torch.nan, 0, 0], [1, 0, 0]])
    _, mistakes = evaluated([(three_outputs, torch.tensor([0, -100, 1, 1]))])
    found = mistakes.found()
    assert (found["confusion"], found["left_out"]) == ([[0, 0], [2, 0]], 2)
    assert [one["index"] for one in found["most_confident_errors"]] == [3]


def test_no_batch_waits_for_the_device():
    evaluator = Engine(lambda engine, batch: {"y_pred": batch[0], "y": batch[1]})
    Mistakes(["day", "night"]).attach(evaluator)
    on_meta = [(one.to("meta"), y.to("meta")) for one, y in BATCHES]  # which has no values to wait for
    evaluator.run(on_meta)


def test_no_more_errors_are_kept_than_are_shown():
    generator = torch.Generator().manual_seed(0)
    sure = torch.rand(500, generator=generator) / 2 + 0.5
    batches = [(logits(*part.tolist()), torch.zeros(len(part), dtype=torch.long)) for part in sure.split(64)]
    _, mistakes = evaluated(batches)
    found = mistakes.found()["most_confident_errors"]
    assert [one["index"] for one in found] == sure.argsort(descending=True)[:MOST].tolist()


def test_what_was_found_is_written_with_the_images_of_the_errors(tmp_path):
    images = [torch.full((3, 8, 8), 40 * place, dtype=torch.uint8) for place in range(5)]
    _, mistakes = evaluated(BATCHES, image_of=images.__getitem__)
    mistakes.write(tmp_path)
    assert json.loads((tmp_path / "mistakes.json").read_text()) == mistakes.found()
    with Image.open(tmp_path / "mistakes.png") as sheet:
        assert [sheet.getpixel((96 * number + 48, 48)) for number in range(3)] == [
            (120, 120, 120),
            (40, 40, 40),
            (160, 160, 160),
        ]


def test_before_an_evaluation_nothing_is_written(tmp_path):
    Mistakes(["a", "b"]).attach(Engine(lambda engine, batch: None)).write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_report_shows_mistakes_and_the_newest_samples(tmp_path):
    assert pictures_of(tmp_path) == []
    _, mistakes = evaluated(BATCHES)
    mistakes.write(tmp_path)
    (tmp_path / "samples").mkdir()
    for number, side in ((1, 8), (2, 16)):
        Image.new("RGB", (side, side)).save(tmp_path / "samples" / f"epoch_{number:04d}.png")
    taken, samples = pictures_of(tmp_path)
    assert isinstance(taken, ConfusionPicture)
    assert taken.images is None
    assert isinstance(samples, Samples)
    assert (samples.path.name, samples.image.size) == ("epoch_0002.png", (16, 16))


@pytest.fixture
def left(tmp_path):
    """A directory with ``mistakes.json``, ``mistakes.png`` and a sample."""
    _, mistakes = evaluated(BATCHES, image_of=lambda index: torch.zeros(3, 8, 8, dtype=torch.uint8))
    mistakes.write(tmp_path)
    (tmp_path / "samples").mkdir()
    Image.effect_noise((64, 64), 50).save(tmp_path / "samples" / "epoch_0001.png")
    return tmp_path


def test_a_picture_that_is_cut_off_anywhere_is_left_out(left):
    for name, kept in (("samples/epoch_0001.png", 1), ("mistakes.png", 2)):
        whole = (left / name).read_bytes()
        for size in (0, 20, len(whole) // 2):
            (left / name).write_bytes(whole[:size])
            found = pictures_of(left)
            assert len(found) == kept
        (left / name).write_bytes(whole)
    assert found[0].images is None


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "[" * 100_000,
        '{"classes": [], "confusion": [], "most_confident_errors": []}',
        '{"classes": ["a", "b"], "confusion": "zz", "most_confident_errors": []}',
        '{"classes": ["a", "b"], "confusion": [[1, 2]], "most_confident_errors": []}',
        '{"classes": ["a"], "confusion": [[Infinity]], "most_confident_errors": []}',
        '{"classes": ["a"], "confusion": [[1]], "most_confident_errors": [{"true": "a"}]}',
    ],
)
def test_damaged_counts_are_left_out(left, content):
    (left / "mistakes.json").write_text(content)
    (picture,) = pictures_of(left)
    assert isinstance(picture, Samples)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs")
@pytest.mark.parametrize("name", ["mistakes.json", "mistakes.png", "samples/epoch_0001.png"])
def test_a_fifo_is_not_waited_for(left, name):
    (left / name).unlink()
    os.mkfifo(left / name)
    assert len(pictures_of(left)) == (2 if name == "mistakes.png" else 1)
