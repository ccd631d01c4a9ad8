"""Folders of photographs as people have them: what is found there, and what it looks like."""

import math
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ignite_pipeline.data.class_balance import class_weights, sample_weights
from ignite_pipeline.data.image_folder import image_folder
from ignite_pipeline.data.images import UnreadableImage
from ignite_pipeline.data.labelled_files import class_folders, split_by_name
from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.errors import BadInput
from ignite_pipeline.look.found_files import find_files
from tests.support.photographs import WRITERS

PLAIN = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8))


def write_tiny(root, counts):
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            PLAIN.save(root / name / f"{number:05d}.png")
    return root


def names_of(split):
    return list(split.files.names)


def lightness(image):
    return np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"), float)


@pytest.mark.parametrize(
    "names", [("Train", "Val"), ("training", "validation"), ("test", "val"), ("TRAIN", "dev")]
)
def test_folders_that_are_called_like_splits_are_no_classes(tmp_path, names):
    for name in names:
        (tmp_path / name / "bird").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name / "bird" / "1.png")
    with pytest.raises(BadInput, match=r"look like splits, not classes; call them train and val"):
        image_folder(tmp_path)


AS_NOBODY = """
import os, sys
from ignite_pipeline.data.image_folder import image_folder
from ignite_pipeline.look.found_files import find_files
if os.geteuid() == 0:  # who may read everything
    os.seteuid(65534)
for root in sys.argv[1:]:
    for find in (image_folder, find_files):
        try:
            find(root)
        except Exception as error:
            print(type(error).__name__, error)
"""


def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    locked = {
        "parent/photos": ("parent", 0),
        "root": ("root", 0),
        "names": ("names", 0o444),
        "one": ("one/a", 0),
    }
    for root, (folder, mode) in locked.items():
        for name in ("a", "b"):
            (tmp_path / root / name).mkdir(parents=True)
        (tmp_path / folder).chmod(mode)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    command = [sys.executable, "-c", AS_NOBODY, *(str(tmp_path / root) for root in locked)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for folder, _ in locked.values():
        (tmp_path / folder).chmod(0o755)
    lines = done.stdout.splitlines()
    for root, of_root in zip(locked, zip(lines[::2], lines[1::2], strict=True), strict=True):
        for line in of_root:  # whether the kernel tells what may not be entered from a file may vary
            assert line.startswith(f"BadInput {tmp_path / root}")
            assert re.search(r"cannot be read( as a folder)? \(Permission denied\)$", line)


@pytest.mark.parametrize("names", [("look.json",), ("config.json", "checkpoints")])
def test_what_runs_and_looks_have_written_is_no_class(tmp_path, names):
    for folder in ("photos/a", "photos/b", "photos/runs/last/samples"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "1.png")
    for name in names:
        (tmp_path / "photos" / "runs" / "last" / name).mkdir()
    with pytest.raises(BadInput, match=r"photos/runs/last: holds a run, or what look has written, and no"):
        image_folder(tmp_path / "photos")
    found = find_files(tmp_path / "photos")
    assert found.names == ["a/1.png", "b/1.png"]
    assert found.skipped == {"folders that a run or look has written": 1}


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
    for index, name in enumerate(names_of(train)):
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


def test_one_folder_is_split_by_names_for_good(tmp_path):
    root = write_tiny(tmp_path / "one", {"a": 400, "b": 100})
    before = image_folder(root, val_share=0.3)
    sides = [set(names_of(split)) for split in (before.train, before.val)]
    (root / "c").mkdir()
    for number in range(150):
        PLAIN.save(root / "a" / f"new {number}.png")
        PLAIN.save(root / "c" / f"{number}.png")
    (root / "a" / "00007.png").unlink()
    after = image_folder(root, val_share=0.3)
    for side, split in zip(sides, (after.train, after.val), strict=True):
        assert side - {"a/00007.png"} <= set(names_of(split))
    for target, name in enumerate(after.classes):
        count, held = ((split.files.targets == target).sum().item() for split in (after.train, after.val))
        of_class = count + held
        assert abs(held - 0.3 * of_class) <= 3 * math.sqrt(of_class * 0.3 * 0.7), name


def test_a_split_does_not_depend_on_how_accents_are_written(tmp_path):
    sides = []
    for form, name in {"composed": "\u00e9", "decomposed": "e\u0301"}.items():
        for folder in ("a", "b"):
            (tmp_path / form / folder).mkdir(parents=True)
            for number in range(20):
                PLAIN.save(tmp_path / form / folder / f"{name}{number:02d}.png")
        train, _ = split_by_name(class_folders(tmp_path / form), 0.5)
        sides.append([Path(path).stem[-2:] for path in train.names])
    assert sides[0] == sides[1]


def test_images_lie_at_any_depth_and_hidden_files_are_none(tmp_path):
    root = write_tiny(tmp_path / "root", {"a": 3, "a/deep/er": 2, "b": 3, ".hidden": 2})
    (root / "a" / "._00000.png").write_bytes(b"of another system")
    (root / "b" / "notes.txt").write_text("no image")
    files = class_folders(root)
    assert files.classes == ("a", "b")
    assert sorted(files.names) == [
        "a/00000.png",
        "a/00001.png",
        "a/00002.png",
        "a/deep/er/00000.png",
        "a/deep/er/00001.png",
        "b/00000.png",
        "b/00001.png",
        "b/00002.png",
    ]


def test_the_digest_tells_names_sizes_and_contents_but_no_times(tmp_path):
    root = write_tiny(tmp_path / "root", {"a": 300, "b": 30})

    def digest(**options):
        return class_folders(root).sha256(**options)

    before, all_before = digest(), digest(contents="all")
    for path in root.rglob("*.png"):
        os.utime(path, (1, 1))
    assert (digest(), digest(contents="all")) == (before, all_before)

    content = (root / "a" / "00000.png").read_bytes()
    changed = 0
    for number in range(0, 300, 5):  # one byte, so that sizes stay
        path = root / "a" / f"{number:05d}.png"
        path.write_bytes(content[:-1] + b"\0")
        changed += digest() != before
        assert digest(contents="all") != all_before
        path.write_bytes(content)
    assert 0 < changed < 60  # 256 of 330 are read

    (root / "a" / "00000.png").write_bytes(content + b"\0")
    assert digest() != before
    (root / "a" / "00000.png").write_bytes(content)
    assert digest() == before
    (root / "a" / "00000.png").rename(root / "a" / "x.png")
    assert digest() != before


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


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ({}, ": needs a folder for each of two or more classes, has none"),
        ({"a": 3}, ": needs a folder for each of two or more classes, has only a"),
        ({"a": 3, "b": 0}, "/b: holds no image (.jpg"),
        ({"train/a": 3, "train/b": 3}, ": has train/, but neither val/ nor test/"),
        ({"train/a": 3, "train/b": 3, "val/c": 1}, "/val/c: training has no such class, but a, b"),
    ],
)
def test_folders_that_hold_no_classes_are_refused(tmp_path, counts, line):
    root = tmp_path / "root"
    root.mkdir()
    write_tiny(root, counts)
    with pytest.raises(BadInput) as raised:
        image_folder(root)
    assert str(raised.value).startswith(f"{root}{line}")
    assert "\n" not in str(raised.value)


def test_a_split_needs_images_on_both_sides(tmp_path):
    root = write_tiny(tmp_path / "root", {"a": 2, "b": 2})
    with pytest.raises(BadInput, match="of 4 images, none is left for validation"):
        image_folder(root, val_share=1e-9)


def test_a_class_that_validation_lacks_is_told(tmp_path):
    root = write_tiny(tmp_path / "root", {"train/a": 3, "train/b": 3, "val/b": 2})
    assert image_folder(root).notice == "no image of a in validation"


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
    root, scandir = write_tiny(tmp_path / "root", {"a": 3, "b": 3}), os.scandir

    def refused(path):
        if path == root / "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("os.scandir", refused)
    with pytest.raises(BadInput, match="/b: cannot be read as a folder"):
        image_folder(root)


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
