"""Photographs as people have them: what they look like, kept or read again, and balance of classes."""

import math
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ignite_pipeline.data.class_balance import class_weights, sample_weights
from ignite_pipeline.data.image_files import UnreadableImage
from ignite_pipeline.data.image_folder import image_folder
from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.errors import BadInput
from tests.support.photographs import WRITERS
from tests.support.tiny_images import write_tiny


def lightness(image):
    return np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"), float)


def test_a_fifo_that_is_called_like_an_image_is_left_out(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(9):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    os.mkfifo(tmp_path / "a" / "waits.png")
    data = image_folder(tmp_path, image_size=8)
    assert len(data.train) + len(data.val) == 18
    assert data.train.sha256()
    assert f"{tmp_path}/a/waits.png: not a regular file, left out" in capsys.readouterr().err


def test_a_photograph_looks_the_same_in_every_mode(tmp_path):
    image = Image.linear_gradient("L").resize((90, 60)).convert("RGB")
    image.paste((200, 30, 30), (0, 0, 45, 30))
    for folder in ("train/a", "train/b", "val/a"):
        (tmp_path / folder).mkdir(parents=True)
        for number, (suffix, write) in enumerate(WRITERS):
            write(image, tmp_path / folder / f"{number:02d}{suffix}")
    train = image_folder(tmp_path, image_size=20).train
    square = np.array(image.resize((20, 20), Image.Resampling.BICUBIC, box=(15, 0, 75, 60)))
    wanted = lightness(torch.from_numpy(square).permute(2, 0, 1))
    for index, name in enumerate(train.files.names):
        if WRITERS[int(Path(name).stem)][1].__name__ != "_transparent":
            assert abs(lightness(train[index][0]) - wanted).mean() < 3, name


@pytest.mark.parametrize("storage", ["memory", "files"])
def test_photographs_of_all_sizes_make_a_batch(photographs, storage):
    data = image_folder(photographs, image_size=48, storage=storage)
    assert data.classes == ("airplane", "bird")
    assert (len(data.train), len(data.val)) == (77, 22)
    x, y = next(iter(endless_loader(data.train, batch_size=64, seed=0)))
    assert x.shape == (64, 3, 48, 48)
    assert x.dtype == torch.uint8
    assert set(y.tolist()) == {0, 1}
    assert 20 < x.float().std() < 120


def test_without_a_size_an_image_keeps_its_own(photographs):
    data = image_folder(photographs, image_size=None)
    shapes = {tuple(data.train[index][0].shape) for index in range(len(data.train))}
    assert len(shapes) > 40
    with Image.open(photographs / "train" / "airplane" / "0001.jpg") as image:
        width, height = image.size  # as stored, lying on its side
    assert data.train[1][0].shape == (3, width, height)


def test_where_images_are_stored_changes_no_pixel(photographs):
    kept, read = (image_folder(photographs, image_size=32, storage=where) for where in ("memory", "files"))
    for index in [*range(len(kept.train)), *range(10)]:  # and some once more, out of memory
        assert torch.equal(kept.train[index][0], read.train[index][0])
    assert kept.describe() == read.describe()


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_workers_keep_what_they_decode_for_all(photographs, tmp_path, method):
    root = shutil.copytree(photographs, tmp_path / "photographs")
    train = image_folder(root, image_size=32, storage="memory").train
    context = multiprocessing.get_context(method)
    loader = endless_loader(train, batch_size=11, seed=0, num_workers=2, multiprocessing_context=context)
    batches = iter(loader)
    first = [next(batches) for _ in range(len(loader))]
    shutil.rmtree(root)  # nothing is left to decode
    for _ in range(len(loader)):
        next(batches)
    assert sum(len(y) for _, y in first) == len(train)
    assert all(train[index][0].shape == (3, 32, 32) for index in range(len(train)))


def test_what_a_transform_writes_into_an_image_is_not_kept(photographs):
    train = image_folder(photographs, image_size=32, storage="memory").train
    before = train[0][0].clone()
    train[0][0].zero_()
    assert torch.equal(train[0][0], before)


def test_balance_draws_every_class_as_often():
    targets = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    drawn = targets[
        [i for i, _ in zip(_drawn(sample_weights(targets)), range(30_000), strict=False)]
    ].bincount()
    assert (abs(drawn - 10_000) < 3 * math.sqrt(30_000 * 2 / 9)).all()
    assert torch.allclose(class_weights(targets, 3) * targets.bincount(), torch.tensor(1000 / 3))
    with pytest.raises(BadInput, match="class 3 has no sample"):
        class_weights(targets, 4)


def _drawn(weights):
    for batch in endless_loader(range(len(weights)), batch_size=100, seed=0, weights=weights):
        yield from batch.tolist()


def test_a_file_that_is_no_image_is_named_when_it_is_read(tmp_path):
    root = write_tiny(tmp_path / "root", {"train/a": 3, "train/b": 3, "val/a": 1})
    (root / "train" / "a" / "00001.png").write_text("not a picture")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(root / "train" / "a" / "float.tif")
    train = image_folder(root, image_size=8).train
    with pytest.raises(UnreadableImage, match=r"train/a/00001.png: not a readable image"):
        train[1]
    with pytest.raises(UnreadableImage, match=r"float.tif: .* float32 of an unknown range"):
        train[3]
    assert train.channel_statistics()[0].shape == (3,)  # of the others


def test_a_size_that_no_memory_holds_is_refused(photographs):
    with pytest.raises(BadInput, match="8 images of 9000000x9000000 do not fit into memory"):
        image_folder(photographs, image_size=9_000_000)
