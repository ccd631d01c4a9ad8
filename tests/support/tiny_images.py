"""Folders of images of four by four pixels, where names matter and pictures do not."""

import numpy as np
from PIL import Image

PLAIN = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8))


def write_tiny(root, counts):
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            PLAIN.save(root / name / f"{number:05d}.png")
    return root
