"""Any folder of images: of any size and mode, told apart by folders or by a table."""

import os
from pathlib import Path

from ignite_pipeline.command_line import say
from ignite_pipeline.data.image_files import UnreadableImage, entries
from ignite_pipeline.data.images import ImageSplits
from ignite_pipeline.data.labelled_files import (
    LabelledFiles,
    class_folders,
    find_split,
    missing_classes,
    split_by_name,
)
from ignite_pipeline.data.stored_images import StoredImages
from ignite_pipeline.data.targets_csv import read_targets
from ignite_pipeline.errors import BadInput
from ignite_pipeline.machine import available_memory_bytes

STORAGES = ("auto", "memory", "files")
CONTENTS = ("sampled", "all")


def image_folder(
    root: str | Path,
    *,
    targets: str | Path | None = None,
    kind: str = "auto",
    val_share: float = 0.2,
    image_size: int | None = 256,
    storage: str = "auto",
    contents: str = "sampled",
) -> ImageSplits:
    """Find the images of ``root`` and what each of them shows; decode none of them yet.

    ``root`` holds ``train/`` and ``val/`` (or ``test/``) with a folder for each class, or only the folders of
    the classes: then a hash of each name puts ``val_share`` of them aside for validation. Instead of folders,
    ``targets`` may be a CSV table of files under ``root``; see `read_targets`, also for its ``kind``.

    An image comes as RGB, the right way up, on white where it is transparent, and with ``image_size`` as the
    square in its middle, scaled (see `StoredImages`); None leaves sizes as they are. ``storage`` is "memory",
    to decode each once, "files", to read it each time, or "auto", which takes memory where half of what is
    free suffices, and says so. It changes nothing but the time. ``contents`` tells which files the digest of
    the data covers from end to end: a sample, or "all".

    Raises `BadInput` for what is not there, naming the path.
    """
    root = Path(root)
    if storage not in STORAGES:
        raise BadInput(f"storage must be {', '.join(STORAGES)}; got {storage!r}")
    if contents not in CONTENTS:
        raise BadInput(f"contents must be {' or '.join(CONTENTS)}, got {contents!r}")
    if storage == "memory" and image_size is None:
        raise BadInput("storage='memory' needs an image_size: images of one size")
    train, val = _found(root, targets, kind, val_share)
    if image_size is not None and 3 * image_size**2 > available_memory_bytes() / 8:
        what = f"8 images of {image_size}x{image_size}"
        raise BadInput(f"{what} do not fit into memory; give a smaller --image-size")
    keep = storage == "memory"
    if storage == "auto" and image_size is not None:
        keep = _fits(StoredImages(train, image_size=image_size), len(train) + len(val), image_size)
    notices = [
        f"no image of {', '.join(missing)} in {what}"
        for what, files in (("training", train), ("validation", val))
        if (missing := missing_classes(files))
    ]
    stored_train, stored_val = (
        StoredImages(files, image_size=image_size, keep=keep, contents=contents) for files in (train, val)
    )
    notice = "; ".join(notices) or None
    return ImageSplits("folder", str(root), stored_train, stored_val, notice, train.classes, kind=train.kind)


def require_readable_classes(images: StoredImages) -> None:
    """Raise `BadInput` for a class of which no image can be read: all would be replaced by others."""
    for target, name in enumerate(images.files.classes):
        reason = None
        for index in (images.files.targets == target).nonzero().flatten().tolist():
            try:
                images[index]
                break
            except UnreadableImage as error:
                reason = reason or error
        else:
            if reason is not None:
                raise BadInput(f"class {name}: none of its images can be read ({reason})")


def _found(
    root: Path, targets: str | Path | None, kind: str, val_share: float
) -> tuple[LabelledFiles, LabelledFiles]:
    entries(root)  # raises what is wrong with it
    if targets is not None:
        files, val, test = read_targets(targets, root, kind=kind)
        if test is not None:
            say(f"{targets}: rows of test are left out ({len(test):,}): those of val are taken")
        return split_by_name(files, val_share) if val is None else (files, val)
    folders = find_split(root)
    if folders is None:
        return split_by_name(class_folders(root), val_share)
    train = class_folders(folders[0])
    return train, class_folders(folders[1], train.classes)


def _fits(images: StoredImages, count: int, image_size: int) -> bool:
    """Return whether the decoded images leave half of the memory free, and tell the user."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    size_mb, free_mb = count * 3 * image_size**2 / 1e6, available_memory_bytes() / processes / 1e6
    milliseconds = images.seconds_per_image() * 1000
    fits = size_mb <= free_mb / 2
    what = f"{count:,} images of {image_size}x{image_size} are {size_mb:,.0f} MB, {free_mb:,.0f} MB are free"
    how = "each is decoded once, and kept" if fits else "each is read anew when it is needed"
    say(f"{what}: {how} ({milliseconds:.2g} ms an image)")
    return fits
