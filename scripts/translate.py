"""Translate images with a generator that run_pix2pix.py trained.

python scripts/translate.py runs/pix2pix/.../checkpoints/checkpoint_00002000.pt labels/ --output photos
python scripts/translate.py CHECKPOINT facades/val --pairs --output photos   # the source of each pair
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from handlers import load_checkpoint
from handlers.errors import UnusableRun
from handlers.files import write_whole
from ignite_pipeline.command_line import Parser, exit_on_bad_input, make_folder, number
from ignite_pipeline.data.images import image_files, progress, read_image
from ignite_pipeline.data.paired import split_pair
from ignite_pipeline.devices import resolve_device
from ignite_pipeline.errors import BadInput
from ignite_pipeline.model_modes import inference_mode_of
from ignite_pipeline.models.pix2pix import UNetGenerator


def parser() -> argparse.ArgumentParser:
    """Return the parser of this script's options."""
    parser = Parser(description="Translate images with a trained generator.")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a file in a run's checkpoints/")
    parser.add_argument("inputs", metavar="IMAGE_OR_FOLDER", nargs="+", type=Path, help="what to translate")
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="gets a PNG for each image")
    parser.add_argument(
        "--pairs", action="store_true", help="inputs are side-by-side pairs: take the source's half"
    )
    parser.add_argument(
        "--inference",
        choices=("train", "eval"),
        default="train",
        help="mode of dropout and batch norm; the paper's is train (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=number(int, least=0, below=2**63),
        default=0,
        help="decides dropout (default: %(default)s)",
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)"
    )
    return parser


def load_generator(path: str) -> tuple[UNetGenerator, dict[str, Any]]:
    """Return a checkpoint's generator, and its options; raise `BadInput` if it has none."""
    payload = load_checkpoint(path)
    config = payload.get("config", {})
    if config.get("task") != "pix2pix":
        raise BadInput(f"{path}: is a checkpoint, but not one of run_pix2pix.py")
    trained_with = config["options"]
    generator = UNetGenerator(image_size=trained_with["image_size"], norm=trained_with["norm"])
    generator.load_state_dict(payload["objects"]["generator"])
    return generator, trained_with


def plan(inputs: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Return the file that each image is to be written to; raise `BadInput` if two are the same."""
    images = [path for item in inputs for path in (image_files(item) if item.is_dir() else [item])]
    targets: dict[Path, Path] = {}
    for image in images:
        if not image.exists():
            raise BadInput(f"{image}: no such file")
        target = output / f"{image.stem}.png"
        if target in targets:
            raise BadInput(
                f"{targets[target]} and {image} would both be written to {target}; translate them apart"
            )
        if target.exists():
            raise BadInput(f"--output: {target} exists; choose another folder")
        targets[target] = image
    return targets


def translate(generator: nn.Module, image: Image.Image, *, device: torch.device) -> Image.Image:
    """Return the generator's translation of an image of its size."""
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0).to(device) / 127.5 - 1
    pixels = ((generator(x)[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def main(argv: Sequence[str] | None = None) -> None:
    """Translate every image, and say how many had to be resized."""
    with exit_on_bad_input("translate.py", UnusableRun):
        options = parser().parse_args(argv)
        device = resolve_device(options.device)
        generator, trained_with = load_generator(options.checkpoint)
        generator.to(device)
        targets = plan(options.inputs, options.output)
        make_folder(options.output, option="--output")

    size = (trained_with["image_size"], trained_with["image_size"])
    resized = 0
    with exit_on_bad_input("translate.py"), inference_mode_of(generator, options.inference):
        for target, source in progress(targets.items(), total=len(targets), description="translating"):
            image = read_image(source)
            if options.pairs:
                image = split_pair(image, source)[0 if trained_with["direction"] == "AtoB" else 1]
            if image.size != size:
                image, resized = image.resize(size, Image.Resampling.BICUBIC), resized + 1
            torch.manual_seed(options.seed)
            fake = translate(generator, image, device=device)
            try:
                write_whole(target, partial(fake.save, format="PNG"))
            except OSError as error:
                raise BadInput(f"{target} cannot be written: {error.strerror or error}") from error
    print(f"{len(targets)} images in {options.output}")
    if resized:
        print(f"{resized} were resized to {size[0]}x{size[1]}, the network's size", file=sys.stderr)


if __name__ == "__main__":
    main()
