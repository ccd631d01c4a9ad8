import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ignite_pipeline.data.generated_facades import LABELS, draw_facades
from ignite_pipeline.data.paired import PairTensors, paired_images
from tests.support.drawn import write_pairs


@pytest.mark.parametrize("val", ["val", "test"])
def test_pairs_side_by_side_are_split_and_directed(tmp_path, val):
    photos, labels = write_pairs(tmp_path, {"train": 3, val: 2}, side=32)["train"]
    for direction, (source, target) in {"AtoB": (photos, labels), "BtoA": (labels, photos)}.items():
        data = paired_images(tmp_path, direction=direction, image_size=32, load_size=32)
        assert (data.name, len(data.train), len(data.val), data.notice) == ("paired", 3, 2, None)
        assert torch.equal(data.train.pairs, torch.cat([source, target], 1))


def test_pairs_in_two_folders_are_matched_by_name(tmp_path):
    photos, labels = write_pairs(tmp_path / "together", {"train": 3, "val": 2}, side=32)["train"]
    for split in ("train", "val"):
        for path in (tmp_path / "together" / split).iterdir():
            with Image.open(path) as image:
                for side, box in (("A", (0, 0, 32, 32)), ("B", (32, 0, 64, 32))):
                    folder = tmp_path / "apart" / f"{split}{side}"
                    folder.mkdir(parents=True, exist_ok=True)
                    # The names agree but for their endings.
                    image.crop(box).save(folder / f"{path.stem}.{'png' if side == 'A' else 'bmp'}")
    apart = paired_images(tmp_path / "apart", direction="AtoB", image_size=32, load_size=32)
    assert torch.equal(apart.train.pairs, torch.cat([photos, labels], 1))


def test_training_images_are_larger_to_cut_windows_from(tmp_path):
    write_pairs(tmp_path, {"train": 2, "val": 2}, side=48)
    data = paired_images(tmp_path, image_size=32)
    assert data.train.pairs.shape == (2, 6, 36, 36)
    assert data.val.pairs.shape == (2, 6, 32, 32)


def test_a_batch_is_the_pairs_stacked():
    dataset = PairTensors(torch.randint(256, (5, 6, 4, 4), dtype=torch.uint8))
    batch = dataset.__getitems__([4, 0])
    assert torch.equal(batch, torch.stack([dataset[4], dataset[0]]))


def test_drawn_facades_show_the_same_parts_in_both_images():
    photos, labels = draw_facades(3, seed=0, side=256)
    for photo, label in zip(photos.float(), labels, strict=True):
        colours = {tuple(colour) for colour in label.flatten(1).T.tolist()}
        assert colours <= set(LABELS.values())
        assert len(colours) == len(LABELS)
        window = (label == torch.tensor(LABELS["window"], dtype=torch.uint8).view(3, 1, 1)).all(0)
        wall = (label == torch.tensor(LABELS["wall"], dtype=torch.uint8).view(3, 1, 1)).all(0)
        assert photo[:, window].median() < photo[:, wall].median() - 20
    assert not torch.equal(photos[0], photos[1])
    again, _ = draw_facades(2, seed=0, side=256)
    assert torch.equal(again, photos[:2])


def test_generated_pairs_need_no_data():
    data = paired_images(image_size=32)
    assert data.name == "generated"
    assert "GENERATED" in data.notice


def damage_nothing(root):
    pass


def damage_odd_width(root):
    Image.new("RGB", (63, 32)).save(root / "train" / "001.png")


def damage_cut(root):
    path = root / "val" / "001.png"
    path.write_bytes(path.read_bytes()[:500])


def damage_no_val(root):
    (root / "val").rename(root / "validation")


def damage_empty(root):
    for path in (root / "train").iterdir():
        path.unlink()


def damage_unmatched(root):
    for side in "AB":
        for split in ("train", "val"):
            (root / f"{split}{side}").mkdir()
            Image.new("RGB", (8, 8)).save(root / f"{split}{side}" / "1.png")
    (root / "trainB" / "1.png").rename(root / "trainB" / "2.png")
    (root / "train").rename(root / "elsewhere")


def damage_twice(root):
    damage_unmatched(root)
    (root / "trainB" / "2.png").rename(root / "trainB" / "1.png")
    shutil.copy(root / "trainB" / "1.png", root / "trainB" / "1.jpg")


def damage_sizes(root):
    damage_unmatched(root)
    (root / "trainB" / "2.png").unlink()
    Image.new("RGB", (8, 9)).save(root / "trainB" / "1.png")


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (damage_odd_width, {}, "train/001.png: its width of 63 does not halve into a pair"),
        (damage_cut, {}, "val/001.png: not a readable image"),
        (damage_no_val, {}, "holds neither train/ and val/ .* nor trainA/, trainB/, valA/ and valB/"),
        (damage_empty, {}, "train: holds no image"),
        (damage_unmatched, {}, "trainA/1.png: no image of that name in the other folder"),
        (damage_twice, {}, "trainB/1.png: has the name of 1.jpg; a pair has one image in each folder"),
        (damage_sizes, {}, "trainB/1.png: is 8x9, but .*trainA/1.png is 8x8"),
        (damage_nothing, {"direction": "AtoC"}, "direction must be AtoB or BtoA, got 'AtoC'"),
        (damage_nothing, {"load_size": 8}, "load_size must be at least image_size=32, got 8"),
        (damage_nothing, {"dataset": "folder"}, "dataset must be auto, paired or generated, got 'folder'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, damage, options, message):
    write_pairs(tmp_path, {"train": 2, "val": 2}, side=32)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        paired_images(tmp_path, **{"image_size": 32, **options})


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        paired_images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="dataset='paired' needs a root"):
        paired_images(dataset="paired")
    with pytest.raises(TypeError, match="pairs must be uint8"):
        PairTensors(torch.zeros(1, 6, 4, 4))


def test_real_facades_keep_their_pixels(real_facades):
    data = paired_images(real_facades, direction="AtoB")
    assert (len(data.train), len(data.val)) == (400, 100)
    assert data.train.pairs.shape[1:] == (6, 286, 286)
    first = sorted((real_facades / "val").iterdir())[0]
    with Image.open(first) as image:
        whole = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert torch.equal(data.val.pairs[0], torch.cat([whole[:, :, :256], whole[:, :, 256:]]))
