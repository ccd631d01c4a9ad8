"""The options with which the tools for a trained model say which it is, and how it computes."""

import argparse

from ignite_pipeline.command_line import named_path, number
from ignite_pipeline.devices import PRECISIONS


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add which trained model it is."""
    parser.add_argument(
        "model",
        metavar="RUN",
        type=named_path,
        help="a run's directory (its best checkpoint, else the newest), a checkpoint, or a .pt2 program",
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add which images it is given."""
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="*",
        type=named_path,
        help="files, folders and all below them, patterns in quotes",
    )


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add where a trained model computes, and in which numbers."""
    add = parser.add_argument
    add(
        "--device",
        metavar="NAME",
        default="auto",
        help="auto takes a GPU if there is one; or cpu, cuda, cuda:1, mps (default: %(default)s)",
    )
    add("--precision", choices=PRECISIONS, help="number format (default: that of the run)")


def add_batch_size(parser: argparse.ArgumentParser) -> None:
    """Add how many images a trained model computes at once."""
    size = number(int, least=1)
    parser.add_argument("--batch-size", type=size, help="images at once (default: as in validation)")
