"""Drawn images in folders, as people keep theirs."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ignite_pipeline.data.generated import draw_airplanes_and_birds
from ignite_pipeline.data.generated_facades import draw_facades


def write_tree(root: Path, splits: dict[str, int], side: int = 32) -> Path:
    for number, (split, count) in enumerate(splits.items()):
        drawn = draw_airplanes_and_birds(2 * count, seed=number, side=side)
        for index, (image, target) in enumerate(zip(drawn.images, drawn.targets.tolist(), strict=True)):
            folder = root / split / ("airplane", "bird")[target]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{index:03d}.png")
    return root


def write_pairs(root: Path, splits: dict[str, int], side: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Write drawn façades, photo left, labels right; return photos and labels of each split."""
    drawn = {
        split: draw_facades(count, seed=number, side=side)
        for number, (split, count) in enumerate(splits.items())
    }
    for split, (photos, labels) in drawn.items():
        (root / split).mkdir(parents=True)
        for index, pair in enumerate(torch.cat([photos, labels], dim=3)):
            Image.fromarray(pair.permute(1, 2, 0).numpy()).save(root / split / f"{index:03d}.png")
    return drawn
