"""Folders of classes: which files are images of which class, how they are split, and what is refused."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ignite_pipeline.data.image_folder import image_folder
from ignite_pipeline.data.labelled_files import class_folders, split_by_name
from ignite_pipeline.errors import BadInput
from ignite_pipeline.look.found_files import find_files
from tests.support.tiny_images import PLAIN, write_tiny


@pytest.mark.parametrize(
    "names", [("Train", "Val"), ("training", "validation"), ("test", "val"), ("TRAIN", "dev")]
)
def test_folders_that_are_called_like_splits_are_no_classes(tmp_path, names):
    for name in names:
        (tmp_path / name / "bird").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name / "bird" / "1.png")
    with pytest.raises(BadInput, match=r"look like splits, not classes; call them train and val"):
        image_folder(tmp_path)


@pytest.mark.parametrize("flat", [[], ["1.png"]])
def test_validation_without_a_folder_of_a_class_is_refused(tmp_path, flat):
    for folder in ("train/cat", "train/dog", "val"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("train/cat/1.png", "train/dog/1.png", *(f"val/{name}" for name in flat)):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    with pytest.raises(BadInput, match=r"val: holds no folder of a class, such as cat/"):
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


def test_one_folder_is_split_by_names_for_good(tmp_path):
    root = write_tiny(tmp_path / "one", {"a": 400, "b": 100})
    before = image_folder(root, val_share=0.3)
    sides = [set(split.files.names) for split in (before.train, before.val)]
    (root / "c").mkdir()
    for number in range(150):
        PLAIN.save(root / "a" / f"new {number}.png")
        PLAIN.save(root / "c" / f"{number}.png")
    (root / "a" / "00007.png").unlink()
    after = image_folder(root, val_share=0.3)
    for side, split in zip(sides, (after.train, after.val), strict=True):
        assert side - {"a/00007.png"} <= set(split.files.names)
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
