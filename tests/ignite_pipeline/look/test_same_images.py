"""Images that are the same, or nearly, are found in any format and size; different ones are told apart."""

import random

import numpy as np
import pytest
from PIL import Image

from ignite_pipeline.look.found_files import find_files
from ignite_pipeline.look.hamming import RADIUS, near_pairs
from ignite_pipeline.look.same_images import exact_groups, near_groups
from ignite_pipeline.look.survey import survey
from tests.support.look_results import files_of, looked_at

ROTATED_BY_EXIF = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def turned(image, orientation):
    """Return an image as a camera would have saved it that was held in another way."""
    exif = Image.Exif()
    exif[274] = orientation
    return image.transpose(ROTATED_BY_EXIF[orientation]), exif


def test_nothing_is_made_up_about_different_images(tree, capsys):
    found = looked_at(tree)
    assert (found["same"], found["nearly_same"], found["unreadable"]) == ([], [], {})
    assert found["what_to_look_at"] == []
    assert found["counts"] == {"a": {"train": 20, "val": 10}, "b": {"train": 20, "val": 10}}
    assert "Nothing to worry about" in capsys.readouterr().out


def test_the_same_pixels_are_found_whatever_the_format(tree, photos):
    photos[0].save(tree / "train/a/again.bmp")
    photos[2].save(tree / "val/a/again.webp", lossless=True)
    photos[4].save(tree / "train/b/again.tiff")
    for orientation in ROTATED_BY_EXIF:
        image, exif = turned(photos[6], orientation)
        image.save(tree / f"train/a/turned{orientation}.png", exif=exif)
    found = looked_at(tree)
    assert found["nearly_same"] == []
    assert found["exif_rotated"] == 3
    turned_ones = {f"train/a/turned{orientation}.png" for orientation in ROTATED_BY_EXIF}
    assert files_of(found["same"], leak=False, conflict=False) == [
        {"train/a/00.png", "train/a/again.bmp"},
        {"train/a/06.png", *turned_ones},
    ]
    assert files_of(found["same"], leak=True) == [{"train/a/02.png", "val/a/again.webp"}]
    assert files_of(found["same"], conflict=True) == [{"train/a/04.png", "train/b/again.tiff"}]
    first, second, third = (one["what"] for one in found["what_to_look_at"][:3])
    assert "the same in train and val" in first
    assert "the same under two classes" in second
    assert "4 images" not in third
    assert "6 images in 2 groups are the same" in third


@pytest.mark.parametrize(
    ("scale", "quality"), [(1, 50), (1, 70), (1, 95), (0.3, 95), (0.5, 70), (1.7, 50), (3, 80)]
)
def test_copies_are_found(photos, tmp_path, scale, quality):
    for number, photo in enumerate(photos):
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / "val").mkdir(exist_ok=True)
        photo.save(tmp_path / "train" / f"{number:02}.png")
    size = [round(scale * side) for side in photos[0].size]
    methods = [Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS]
    for number in range(0, len(photos), 4):
        copy, exif = turned(photos[number].resize(size, methods[number % 3]), (3, 6, 8)[number % 3])
        copy.save(tmp_path / "val" / f"{number:02}.jpg", quality=quality, exif=exif)
    seen = survey(find_files(tmp_path))
    groups = near_groups(seen, exact_groups(seen)).groups
    pairs = {tuple(seen.name(index) for index in group.members) for group in groups}
    assert pairs == {
        (f"train/{number:02}.png", f"val/{number:02}.jpg") for number in range(0, len(photos), 4)
    }
    assert all(group.leak and not group.conflict for group in groups)


def test_real_images_of_32_pixels_have_copies_found_and_others_told_apart(real_cifar2, tmp_path):
    files = find_files(real_cifar2)
    chosen = random.Random(0).sample(files.names, 400)
    for number, name in enumerate(chosen):
        image = Image.open(files.root / name).convert("RGB")
        image.save(tmp_path / f"{number:03}.png")
        if number < 100:
            image.resize((48, 48)).save(tmp_path / f"{number:03}.jpg", quality=80)
    seen = survey(find_files(tmp_path))
    groups = near_groups(seen, []).groups
    planted = {(f"{number:03}.jpg", f"{number:03}.png") for number in range(100)}
    assert {tuple(seen.name(index) for index in group.members) for group in groups} == planted


def test_even_skies_are_not_taken_for_one_another(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(30):
        low, high = sorted(generator.uniform(90, 240, 2))
        sky = np.linspace(low, high, 64)[:, None, None] + generator.normal(0, 2, (64, 64, 3))
        Image.fromarray(sky.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{number}.jpg")
    seen = survey(find_files(tmp_path))
    near = near_groups(seen, exact_groups(seen))
    assert (near.groups, near.plain) == ([], 30)


def test_no_pair_within_the_radius_is_missed_and_none_comes_twice():
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**63, 300, dtype=np.uint64)
    for number in range(200):  # some that are 0 to 12 bits from another
        flips = generator.choice(64, generator.integers(0, 13), replace=False)
        hashes = np.append(
            hashes, hashes[number] ^ np.bitwise_or.reduce(np.uint64(1) << flips.astype(np.uint64))
        )
    found = [(i, j) for a, b in near_pairs(hashes) for i, j in zip(a.tolist(), b.tolist(), strict=True)]
    numbers = [int(one) for one in hashes]
    near = {
        (i, j)
        for j in range(len(numbers))
        for i in range(j)
        if (numbers[i] ^ numbers[j]).bit_count() <= RADIUS
    }
    assert len(near) > 50
    assert sorted(found) == sorted(near)


def test_many_images_of_one_scene_are_few_pairs():
    groups = np.arange(5000)
    compared = 0
    for i, j in near_pairs(np.zeros(5000, np.uint64), groups):
        compared += len(i)
        groups[i] = groups[j] = 0
    assert (groups == 0).all()
    assert compared < 2**20 < 5000 * 4999 / 2
