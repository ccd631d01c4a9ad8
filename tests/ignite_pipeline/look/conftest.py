"""Pictures that are all different, and a tree of them."""

import os

import pytest
from PIL import Image

from ignite_pipeline.data.generated_facades import draw_facades
from ignite_pipeline.look.found_files import find_files


@pytest.fixture(scope="session")
def photos():
    """60 pictures of 160 x 120 that are all different: real façades where they are, else drawn ones."""
    root = os.environ.get("IGNITE_PIPELINE_FACADES")
    if root is None:
        drawn = [
            Image.fromarray(one.permute(1, 2, 0).numpy()) for one in draw_facades(60, seed=3, side=160)[0]
        ]
    else:
        files = find_files(root)
        pairs = [Image.open(files.root / name) for name in files.names[::8][:60]]
        drawn = [pair.convert("RGB").crop((0, 0, pair.width // 2, pair.height)) for pair in pairs]
    return [image.resize((160, 120), Image.Resampling.BICUBIC) for image in drawn]


@pytest.fixture
def tree(photos, tmp_path):
    """``train/`` and ``val/`` with two classes, 20 + 10 and 20 + 10 different photos."""
    root = tmp_path / "photos"
    for number, photo in enumerate(photos):
        folder = root / ("train" if number < 40 else "val") / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        photo.save(folder / f"{number:02}.png")
    return root
