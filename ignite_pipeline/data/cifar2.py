"""CIFAR2: two (or more) classes of CIFAR-10, from torchvision's files, a folder tree, or drawn.

"Two classes of CIFAR-10" is the running example of "Deep Learning with PyTorch", chapter 7.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image

from ignite_pipeline.data.generated import draw_airplanes_and_birds
from ignite_pipeline.data.image_files import image_files, middle_square, read_image, subfolders
from ignite_pipeline.data.images import ImageSplits, ImageTensors, count_unreadable, stack_images
from ignite_pipeline.data.known_files import CIFAR10_FOLDER
from ignite_pipeline.downloads import DOWNLOAD_FAILURES, require_answer
from ignite_pipeline.errors import BadInput

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]  # mypy has no word for a module that may be missing

SIDE = 32
DEFAULT_ROOT = Path("data")
_DRAWN = ("airplane", "bird")


class NotDownloaded(BadInput):
    """CIFAR-10 is not there, and there is no network that would bring it."""


def cifar2(
    root: str | Path | None = None,
    *,
    classes: Sequence[str] = ("airplane", "bird"),
    dataset: str = "auto",
    skip_bad: bool = False,
) -> ImageSplits:
    """Load 32×32 images of ``classes``; the target of an image is its class's place among them.

    ``dataset`` is one of

    - ``"cifar10"``: CIFAR-10 as torchvision stores it under ``root``;
    - ``"folder"``: images in ``root/train/<class>/`` and ``root/val/<class>/`` (or ``test``). One that
      is not 32×32 is scaled and cut to its middle, and the notice counts these;
    - ``"generated"``: drawn stand-ins for airplanes and birds;
    - ``"auto"``: the first of these that is there. Without a ``root``, CIFAR-10 in ``./data``, which
      is downloaded where there is a network.

    Raises `BadInput` where the data is not there or cannot be read, naming the path and what to do. With
    ``skip_bad``, single images in folders that cannot be read are left out, and the notice counts them.

    >>> data = cifar2(dataset="generated")
    >>> data.train.images.shape, data.val.images.shape
    (torch.Size([10000, 3, 32, 32]), torch.Size([1000, 3, 32, 32]))
    """
    classes = tuple(classes)
    if len(classes) < 2:
        raise BadInput(f"classes must name at least two, got {' '.join(classes) or 'none'}")
    if len(set(classes)) < len(classes):
        raise BadInput(f"classes must differ from each other, got {' '.join(classes)}")
    if dataset == "generated":
        return _generated(classes, notice=None)
    path = Path(DEFAULT_ROOT if root is None else root)
    if root is not None and not os.path.isdir(path):
        raise BadInput(
            f"{path}: no such folder; give the one that holds cifar-10-batches-py/ or train/<class>/"
        )
    if dataset == "cifar10":
        return _cifar10(path, classes, download=root is None)
    if dataset == "folder":
        return _folder(path, classes, skip_bad)
    if dataset != "auto":
        raise BadInput(f"dataset must be auto, cifar10, folder or generated, got {dataset!r}")
    if os.path.isdir(path / CIFAR10_FOLDER):
        return _cifar10(path, classes, download=root is None)
    if os.path.isdir(path / "train"):
        return _folder(path, classes, skip_bad)
    if root is not None:
        raise BadInput(
            f"{path}: holds neither {CIFAR10_FOLDER}/ (CIFAR-10) nor train/<class>/ (a folder tree)"
        )
    try:
        return _cifar10(path, classes, download=True)
    except NotDownloaded as error:
        if not set(classes) <= set(_DRAWN):
            raise
        return _generated(classes, notice=f"{error}: training on GENERATED drawings, not on real images")


def _cifar10(root: Path, classes: tuple[str, ...], *, download: bool) -> ImageSplits:
    from torchvision.datasets import CIFAR10  # which takes a second

    for path in (root / CIFAR10_FOLDER).glob("*"):
        if os.path.exists(path) and not os.path.isfile(path):  # to open it might wait for ever
            raise BadInput(f"{path}: not a regular file; remove it")
    try:
        splits = [CIFAR10(root, train=train) for train in (True, False)]
    except OSError as error:
        raise BadInput(f"{error.filename or root}: cannot be read ({error.strerror})") from error
    except RuntimeError as error:  # torchvision has compared digests
        if not download:
            raise BadInput(f"{root / CIFAR10_FOLDER}: CIFAR-10 is missing or damaged there") from error
        try:
            require_answer(CIFAR10.url)
            with _one_process_at_a_time(root):
                splits = [CIFAR10(root, train=train, download=True) for train in (True, False)]
        except DOWNLOAD_FAILURES as failure:
            reason = getattr(failure, "reason", failure)
            raise NotDownloaded(f"CIFAR-10 could not be downloaded to {root} ({reason})") from failure
    _require_classes(classes, splits[0].classes, where=str(root))
    train, val = (_select(split, classes) for split in splits)
    return ImageSplits("cifar10", str(root), train, val, classes=classes)


@contextmanager
def _one_process_at_a_time(root: Path) -> Iterator[None]:
    """Let one of several processes download, and the others find it there."""
    if fcntl is None:
        yield
        return
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".download", "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def _select(split: "CIFAR10", classes: tuple[str, ...]) -> ImageTensors:
    numbers = torch.tensor(split.targets)
    wanted = torch.tensor([split.class_to_idx[name] for name in classes])
    chosen = torch.isin(numbers, wanted)
    targets = (numbers[chosen].unsqueeze(1) == wanted).int().argmax(1)
    return ImageTensors(torch.from_numpy(split.data)[chosen].permute(0, 3, 1, 2).contiguous(), targets)


def _folder(root: Path, classes: tuple[str, ...], skip_bad: bool) -> ImageSplits:
    val = next((root / name for name in ("val", "test") if os.path.isdir(root / name)), None)
    if not os.path.isdir(root / "train") or val is None:
        raise BadInput(f"{root}: a folder tree needs train/<class>/ and val/<class>/ (or test/<class>/)")
    unreadable: dict[Path, str] | None = {} if skip_bad else None
    train_images, train_resized = _read_tree(root / "train", classes, unreadable)
    val_images, val_resized = _read_tree(val, classes, unreadable)
    resized, messages = train_resized + val_resized, tuple((unreadable or {}).values())
    notices = [
        f"{resized} images were not {SIDE}x{SIDE}: scaled and cut to that" if resized else None,
        count_unreadable(messages),
    ]
    notice = "; ".join(filter(None, notices)) or None
    return ImageSplits("folder", str(root), train_images, val_images, notice, classes, messages)


def _read_tree(
    root: Path, classes: tuple[str, ...], unreadable: dict[Path, str] | None
) -> tuple[ImageTensors, int]:
    _require_classes(classes, subfolders(root), where=str(root))
    target_of = {path: target for target, name in enumerate(classes) for path in image_files(root / name)}
    resized: set[Path] = set()
    images = stack_images(
        list(target_of),
        partial(_read_32x32, resized=resized),
        description=f"decoding {root.name} images",
        unreadable=unreadable,
    )
    targets = [target for path, target in target_of.items() if path not in (unreadable or {})]
    for target, name in enumerate(classes):
        if target not in targets:
            reason = next(reason for path, reason in (unreadable or {}).items() if target_of[path] == target)
            raise BadInput(f"{root / name}: no image of the class can be read ({reason})")
    return ImageTensors(images, torch.tensor(targets)), len(resized)


def _read_32x32(path: Path, *, resized: set[Path]) -> Image.Image:
    image = read_image(path, least_side=2 * SIDE)
    if image.size != (SIDE, SIDE):
        resized.add(path)
    return middle_square(image, SIDE)


def _require_classes(classes: tuple[str, ...], present: Sequence[str], *, where: str) -> None:
    missing = [name for name in classes if name not in present]
    if missing:
        raise BadInput(f"{where}: no class {', '.join(missing)}; there are {', '.join(present) or 'none'}")


def _generated(classes: tuple[str, ...], *, notice: str | None) -> ImageSplits:
    _require_classes(classes, _DRAWN, where="generated data")
    targets = {name: target for target, name in enumerate(classes)}
    train = draw_airplanes_and_birds(10_000, seed=0)
    val = draw_airplanes_and_birds(1_000, seed=1)
    for split in (train, val):
        split.targets = torch.tensor([targets["airplane"], targets["bird"]])[split.targets]
    notice = notice or "training on GENERATED drawings, not on real images"
    return ImageSplits("generated", None, train, val, notice, classes)
