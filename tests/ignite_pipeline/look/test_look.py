"""Looking at folders: what is there is counted, and whatever is wrong is named."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

import look as script
from ignite_pipeline.look.__main__ import main
from tests.support.drawn import write_pairs
from tests.support.look_results import files_of, looked_at


def test_a_split_without_folders_of_classes_is_said(tmp_path, capsys):
    for name in ("train/bird/1", "train/bird/2", "train/airplane/3", "test/4", "test/5"):
        path = tmp_path / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40, 40), 90).save(path)
    os.mkfifo(tmp_path / "photos" / "train" / "bird" / "waits.jpg")
    main(["--data-root", str(tmp_path / "photos"), "--output", str(tmp_path / "look")])
    printed = capsys.readouterr().out
    assert "2 images of test/ have no class" in printed
    assert "not a regular file (1)" in printed


def test_an_image_without_a_class_contradicts_none(tree, photos):
    (tree / "test").mkdir()
    photos[0].save(tree / "test" / "again.png")
    found = looked_at(tree)["same"]
    assert files_of(found, leak=True, conflict=False) == [{"train/a/00.png", "test/again.png"}]


def test_classes_to_train_on_alone_want_some_to_validate(tree, tmp_path, capsys):
    shutil.rmtree(tree / "val")
    main(["--data-root", str(tree), "--output", str(tmp_path / "look")])
    assert "there are images to train on, and none to validate" in capsys.readouterr().out


def test_a_link_to_itself_is_an_image_that_cannot_be_read(tree):
    (tree / "train" / "a" / "loop.jpg").symlink_to("loop.jpg")
    assert "train/a/loop.jpg" in looked_at(tree)["unreadable"]


def test_what_is_written_does_not_become_a_class(tmp_path, monkeypatch, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 9)).save(tmp_path / name / "1.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["--data-root", "."])
    assert "would lie in --data-root ., where each folder is a class" in capsys.readouterr().err
    assert not (tmp_path / "look").exists()


def test_a_failure_leaves_no_folder(tree, tmp_path, monkeypatch):
    def interrupted(files):
        raise KeyboardInterrupt

    monkeypatch.setattr("ignite_pipeline.look.__main__.survey", interrupted)
    with pytest.raises(SystemExit):
        main(["--data-root", str(tree), "--output", str(tmp_path / "looked")])
    assert not (tmp_path / "looked").exists()


def test_what_cannot_be_read_is_named_with_the_reason(tree, capsys):
    folder = tree / "train" / "a"
    (folder / "text.jpg").write_text("this is no image")
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "00.png").read_bytes()[:2000])
    Image.fromarray(np.zeros((8, 8), np.float32)).save(folder / "float.tiff")
    os.mkfifo(folder / "pipe.jpg")
    found = looked_at(tree)["unreadable"]
    reasons = {
        "text.jpg": "not an image",
        "empty.png": "0 bytes",
        "cut.png": "truncated",
        "float.tiff": "float32",
        "pipe.jpg": "not a regular file",
    }
    assert found.keys() == {f"train/a/{name}" for name in reasons}
    assert all(reason in found[f"train/a/{name}"] for name, reason in reasons.items())
    assert "1. 5 images unreadable" in capsys.readouterr().out


def test_where_nothing_can_be_read_that_is_all_there_is_to_say(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "text.jpg").write_text("this is no image")
    assert looked_at(tmp_path / "photos")["unreadable"] == {
        "text.jpg": "not an image, whatever its name says"
    }
    assert not (tmp_path / "looked" / "look.png").exists()


def test_modes_formats_and_oddities_are_counted(tree, photos):
    folder = tree / "train" / "a"
    for mode, name in (("L", "grey.png"), ("CMYK", "print.jpg"), ("P", "palette.png")):
        photos[1].convert(mode).save(folder / name)
    transparent = photos[3].convert("RGBA")
    transparent.putalpha(90)
    transparent.save(folder / "transparent.png")
    Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16).save(folder / "deep.png")
    photos[5].save(folder / "two.webp", save_all=True, append_images=[photos[7]], duration=100)
    photos[9].save(folder / "png_by_name.png", format="JPEG")
    found = looked_at(tree)
    modes = {"RGB": 62, "L": 1, "CMYK": 1, "P": 1, "RGBA": 1}
    assert found["modes"].items() >= modes.items()
    assert sum(count for mode, count in found["modes"].items() if mode.startswith("I")) == 1
    assert found["formats"] == {"PNG": 64, "JPEG": 2, "WEBP": 1}
    assert (found["transparent"], found["animated"], found["misnamed"]) == (1, 1, 1)


def test_sizes_and_channels_are_those_of_all_pixels(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    Image.new("RGB", (30, 20), (255, 0, 51)).save(root / "a.png")
    Image.new("RGB", (10, 60), (0, 0, 51)).save(root / "b.png")
    found = looked_at(root)
    assert found["sizes"]["width"] == {"min": 10, "median": 20, "max": 30}
    assert found["sizes"]["height"] == {"min": 20, "median": 40, "max": 60}
    assert found["sizes"]["shortest_side"] == {"0": 1, "16": 1}
    assert found["channels"]["mean"] == pytest.approx([0.5, 0, 0.2])
    assert found["channels"]["deviation"] == pytest.approx([0.5, 0, 0], abs=1e-6)


def test_classes_with_few_images_are_named(photos, tmp_path, capsys):
    for name, count in (("many", 30), ("some", 25), ("two", 2), ("none", 0)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            photos[number].crop((0, 0, 100 + count, 120)).save(tmp_path / "photos" / name / f"{number}.png")
    (tmp_path / "photos" / "loose.png").touch()
    (tmp_path / "photos" / "many" / "x.heic").touch()
    found = looked_at(tmp_path / "photos")
    assert found["near_empty_classes"] == {"none": "no image", "two": "2 images, fewer than 10"}
    assert found["counts"]["none"] == {"": 0}
    assert found["skipped"] == {"images beside the folders of classes": 1, ".heic": 1}
    assert "two: 2 images, fewer than 10" in capsys.readouterr().out


def test_pairs_have_splits_and_no_classes(tmp_path):
    write_pairs(tmp_path / "pairs", {"train": 6, "val": 2}, side=64)
    found = looked_at(tmp_path / "pairs")
    assert found["counts"] == {"": {"train": 6, "val": 2}}
    assert found["near_empty_classes"] == {}


def test_pairs_in_two_folders_are_sides_of_splits(photos, tmp_path):
    for number, name in enumerate(("trainA", "trainB", "testA", "testB")):
        (tmp_path / "pairs" / name).mkdir(parents=True)
        photos[number].save(tmp_path / "pairs" / name / "0.png")
    counts = looked_at(tmp_path / "pairs")["counts"]
    assert counts == {"A": {"train": 1, "test": 1}, "B": {"train": 1, "test": 1}}


def test_a_table_says_what_images_show(photos, tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(6):
        photos[number].save(root / f"{number}.png")
    photos[0].save(root / "0.bmp")
    rows = ["file,labels", "0.png,red|blue", "1.png,red", "2.png,blue", "3.png,", "4.png,red", "0.bmp,red"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    found = looked_at(root, "--targets", str(tmp_path / "labels.csv"))
    assert found["counts"] == {"blue": {"": 2}, "red": {"": 4}}
    assert files_of(found["same"], conflict=True) == [{"0.png", "0.bmp"}]
    assert found["skipped"] == {"images that the table does not name": 1}


def test_the_picture_shows_something(tree, photos):
    photos[0].save(tree / "val/a/again.png")
    looked_at(tree)
    with Image.open(tree.parent / "looked" / "look.png") as picture:
        assert picture.width > 1000
        assert np.asarray(picture.convert("L")).std() > 20
        assert len(picture.convert("RGB").getcolors(2**24)) > 5000


def test_a_link_to_a_folder_above_is_no_endless_tree(tree):
    (tree / "train" / "a" / "up").symlink_to(tree / "train")
    assert looked_at(tree)["images"] == 60


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--data-root", "{tmp}/nowhere"], "{tmp}/nowhere: no such folder"),
        (["--data-root", "{tmp}/file"], "{tmp}/file: cannot be read as a folder (Not a directory)"),
        (["--data-root", "{tmp}/empty"], "{tmp}/empty: holds no image (.jpg, .jpeg, .png"),
        (["--output", "{tmp}"], "--output {tmp} holds the images; give another folder"),
        (["--output", "{tmp}/file/looked"], "--output {tmp}/file/looked cannot be written: Not a directory"),
        (["--output", "{tmp}/taken"], "--output {tmp}/taken/look.png cannot be written: Is a directory"),
        (["--targets", "{tmp}/nowhere.csv"], "{tmp}/nowhere.csv: cannot be read (No such file or directory)"),
        (["--kind", "words"], "argument --kind: invalid choice: 'words'"),
    ],
)
def test_bad_input_gets_one_line(tree, tmp_path, capsys, options, line):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "look.png").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    given = [text.format(tmp=tmp_path) for text in options]
    with pytest.raises(SystemExit) as stop:
        main(["--data-root", str(tree), "--output", str(tmp_path / "looked"), *given])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert line.format(tmp=tmp_path) in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_the_script_is_the_module():
    assert script.main is main
