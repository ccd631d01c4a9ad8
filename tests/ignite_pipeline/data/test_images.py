import errno
import os

import numpy as np
import pytest
import torch
from PIL import Image

from ignite_pipeline.data.image_files import read_image
from ignite_pipeline.data.images import ImageTensors, allocate, stack_images
from ignite_pipeline.data.paired import PairTensors
from ignite_pipeline.errors import BadInput


def test_a_batch_is_the_samples_stacked():
    dataset = ImageTensors(torch.randint(256, (9, 3, 4, 4), dtype=torch.uint8), torch.arange(9))
    x, y = dataset.__getitems__([3, 3, 8])
    for row, index in enumerate([3, 3, 8]):
        assert torch.equal(x[row], dataset[index][0])
        assert y[row] == dataset[index][1]


def test_statistics_equal_those_of_all_pixels():
    images = torch.randint(256, (30, 3, 7, 5), dtype=torch.uint8)
    mean, std = ImageTensors(images, torch.zeros(30)).channel_statistics()
    pixels = images.double() / 255
    torch.testing.assert_close(mean, pixels.mean((0, 2, 3)).float())
    torch.testing.assert_close(std, pixels.std((0, 2, 3), correction=0).float())


def test_what_a_transform_writes_into_an_image_is_not_kept():
    images = torch.full((2, 6, 4, 4), 7, dtype=torch.uint8)
    ImageTensors(images, torch.zeros(2))[1][0].zero_()
    PairTensors(images)[1].zero_()
    assert (images == 7).all()


def test_a_layout_changes_no_digest():
    images = torch.randint(256, (4, 6, 5, 2), dtype=torch.uint8)
    laid_out = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not laid_out.is_contiguous()
    for make in (lambda images: ImageTensors(images, torch.zeros(4)), PairTensors):
        assert make(laid_out).sha256() == make(images).sha256()


def test_a_disk_without_room_for_the_images_is_said(monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(BadInput, match=r"1.0 GiB \(No space left on device\); let TMPDIR name another"):
        allocate((2**30,), memory_limit_bytes=1)


def test_beyond_the_limit_images_lie_in_a_file(tmp_path, monkeypatch):
    mapped = []
    memmap = np.memmap
    monkeypatch.setattr(
        np, "memmap", lambda *args, **options: mapped.append(options) or memmap(*args, **options)
    )
    paths = []
    for index in range(3):
        paths.append(tmp_path / f"{index}.png")
        Image.effect_noise((6, 5), 50).convert("RGB").save(paths[-1])
    in_memory, in_file = (
        stack_images(paths, read_image),
        stack_images(paths, read_image, memory_limit_bytes=1),
    )
    assert torch.equal(in_memory, in_file)
    assert mapped == [{"shape": (3, 3, 5, 6)}]


def test_images_must_be_uint8_and_as_many_as_targets():
    with pytest.raises(TypeError, match="images must be uint8"):
        ImageTensors(torch.zeros(2, 3, 4, 4), torch.zeros(2))
    with pytest.raises(ValueError, match="got 2 and 3"):
        ImageTensors(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3))


def test_unreadable_images_are_left_out_where_that_is_asked_for(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for index, path in enumerate(paths):
        Image.new("RGB", (4, 4), (index, index, index)).save(path)
    for index in (0, 3):
        paths[index].write_bytes(b"rotten")
    unreadable = {}
    images = stack_images(paths, read_image, unreadable=unreadable)
    assert images[:, 0, 0, 0].tolist() == [1, 2, 4]
    assert sorted(unreadable) == [paths[0], paths[3]]
    assert "not a readable image" in unreadable[paths[0]]


def test_a_set_without_a_readable_image_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"rotten")
    with pytest.raises(ValueError, match=r"no image can be read; the first: .*a\.png"):
        stack_images([tmp_path / "a.png"], read_image, unreadable={})
