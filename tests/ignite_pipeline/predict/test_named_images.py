"""Which images files, folders and patterns on a command line name."""

import errno
import os
from pathlib import Path

import pytest

from ignite_pipeline.errors import BadInput
from ignite_pipeline.predict.named_images import find_images


def test_files_folders_and_patterns_are_found_in_order_and_once(image_tree, tmp_path):
    birds, all_of_val = image_tree / "val" / "bird", image_tree / "val"
    assert find_images([str(birds)]) == sorted(birds.glob("*.png"))
    assert find_images([f"{all_of_val}/**/00[0-3].png"]) == sorted(all_of_val.glob("*/00[0-3].png"))
    first, second, *_ = sorted(birds.iterdir())
    assert find_images([str(second), str(birds)])[:2] == [second, first]
    (tmp_path / "odd [1].png").touch()
    assert find_images([str(tmp_path / "odd [1].png")]) == [tmp_path / "odd [1].png"]


def test_a_folder_hides_nothing_that_is_called_like_an_image(tmp_path):
    images, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    images.mkdir()
    elsewhere.mkdir()
    (elsewhere / "far.jpg").touch()
    (images / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(images)
    (images / "broken.png").symlink_to("nowhere")
    os.mkfifo(images / "fifo.jpg")
    expected = [images / name for name in ("broken.png", "fifo.jpg", "linked/far.jpg")]
    assert find_images([str(images)]) == expected
    (elsewhere / "back").unlink()
    assert find_images([f"{images}/*"]) == expected


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "shut").mkdir()
    (tmp_path / "a.png").touch()
    scan = os.scandir
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", lambda path: (refuse if Path(path).name == "shut" else scan)(path))
        with pytest.raises(BadInput, match="shut: cannot be read as a folder"):
            find_images([str(tmp_path)])


def test_a_folder_that_looks_like_a_pattern_means_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("we[ird]", "wei"):
        Path(folder).mkdir()
        Path(folder, "a.jpg").touch()
    assert find_images(["we[ird]/*.jpg"]) == [Path("we[ird]/a.jpg")]
    assert find_images(["we[i]/*.jpg"]) == [Path("wei/a.jpg")]
