import pytest
import torch
from ignite.engine import Engine
from PIL import Image

from handlers import SampleGrids


def run(directory, make_columns, *, epochs=4, **options):
    trainer = Engine(lambda engine, batch: torch.rand(()).item())
    SampleGrids(directory, make_columns, **options).attach(trainer)
    return trainer.run([0, 0], max_epochs=epochs)


def noise():
    return [torch.rand(2, 3, 8, 8) * 2 - 1 for _ in range(3)]


def test_the_same_noise_in_every_epoch_and_every_run(tmp_path):
    for directory in ("one", "two"):
        run(tmp_path / directory, noise)
        torch.rand(5)
    pictures = {path.read_bytes() for path in tmp_path.rglob("*.png")}
    assert len(pictures) == 1
    run(tmp_path / "other", noise, seed=1)
    assert (tmp_path / "other" / "epoch_0001.png").read_bytes() not in pictures


def test_the_generators_are_left_as_they_were(tmp_path):
    torch.manual_seed(0)
    with_samples = run(tmp_path, noise).output
    torch.manual_seed(0)
    trainer = Engine(lambda engine, batch: torch.rand(()).item())
    assert trainer.run([0, 0], max_epochs=4).output == with_samples


def test_a_row_is_an_image_and_a_column_what_became_of_it(tmp_path):
    levels = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)
    run(tmp_path, lambda: [levels.expand(2, 3, 8, 8), -levels.expand(2, 3, 8, 8)], epochs=1)
    with Image.open(tmp_path / "epoch_0001.png") as image:
        assert image.size == (2 * 10 + 2, 2 * 10 + 2)
        assert [image.getpixel((x, y))[0] for y in (6, 16) for x in (6, 16)] == [0, 255, 255, 0]


def test_every_so_many_epochs(tmp_path):
    run(tmp_path, noise, every_epochs=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_0002.png", "epoch_0004.png"]
    with pytest.raises(ValueError, match="every_epochs must be at least 1, got 0"):
        SampleGrids(tmp_path, noise, every_epochs=0)


def test_a_folder_that_cannot_be_made_does_not_stop_the_run(tmp_path, caplog):
    (tmp_path / "file").touch()
    assert run(tmp_path / "file" / "samples", noise).epoch == 4
    assert caplog.text.count("no samples were written") == 4
