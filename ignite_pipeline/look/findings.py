"""What to look at before training, the most important first, and what to do about it."""

import statistics
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ignite_pipeline.look.found_files import OTHER_IMAGES, FoundFiles
from ignite_pipeline.look.same_images import Group, NearImages
from ignite_pipeline.look.survey import Survey

FEW = 10
_NAMED = 3
_FAR_FROM_SQUARE = 3


@dataclass(frozen=True)
class Finding:
    """What was found, what to do about it, and a few files or classes that show it."""

    what: str
    to_do: str
    such_as: Sequence[str] = ()


def class_counts(files: FoundFiles) -> dict[str, dict[str, int]]:
    """Return the number of images of each class in each split."""
    splits = in_order(set(files.splits))
    counts = {name: dict.fromkeys(splits, 0) for name in files.classes or ("",)}
    for index, split in enumerate(files.splits):
        for name in files.classes_of(index) or (() if files.classes else ("",)):
            counts[name][split] += 1
    return counts


def near_empty_classes(counts: dict[str, dict[str, int]]) -> dict[str, str]:
    """Return why a class has too few images: less than 10, or a tenth of the median, to train on.

    >>> near_empty_classes({"cat": {"train": 500}, "dog": {"train": 900}, "fly": {"train": 7}})
    {'fly': '7 images, fewer than 10'}
    """
    if len(counts) < 2:
        return {}
    train = {name: next(iter(of_class.values())) for name, of_class in counts.items()}
    median = statistics.median(train.values())
    few = {}
    for name, count in train.items():
        if not count:
            few[name] = "no image"
        elif count < FEW:
            few[name] = f"{count} image{'s' if count > 1 else ''}, fewer than {FEW}"
        elif count < median / 10:
            few[name] = f"{count} images, less than a tenth of the median of {median:,.0f}"
    return few


def findings(survey: Survey, exact: Sequence[Group], near: NearImages) -> list[Finding]:
    """Return what there is to look at, in the order of importance."""
    found = [
        *_unreadable(survey),
        *_same(survey, exact, "the same", "the same pixels"),
        *_same(survey, near.groups, "nearly the same", "copies that were scaled, compressed or recoloured"),
    ]
    found.sort(key=lambda ranked: ranked[0])
    return [one for _, one in found] + [*_classes(survey.files), *_skipped(survey.files), *_kinds(survey)]


def _unreadable(survey: Survey) -> Iterator[tuple[int, Finding]]:
    if survey.unreadable:
        reasons = Counter(survey.unreadable.values())
        why = "; ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common(_NAMED))
        names = [survey.name(index) for index in survey.unreadable]
        yield 0, Finding(f"{_images(names)} unreadable: {why}", "replace or remove them", names)


def _same(survey: Survey, groups: Sequence[Group], how: str, what: str) -> Iterator[tuple[int, Finding]]:
    exactly = how == "the same"
    leaks = [group for group in groups if group.leak]
    conflicts = [group for group in groups if group.conflict]
    others = [group for group in groups if not group.leak and not group.conflict]
    splits = " and ".join(in_order(set(survey.files.splits)))
    labels = {"classes": "two classes", "labels": "different labels"}.get(
        survey.files.kind, "different numbers"
    )
    if leaks:
        yield (
            1 if exactly else 3,
            Finding(
                f"{_times(leaks)} {how} in {splits} ({what})",
                "remove one side: what is learnt by heart would pass for accuracy",
                _shown(survey, leaks),
            ),
        )
    if conflicts:
        yield (
            2 if exactly else 4,
            Finding(
                f"{_times(conflicts)} {how} under {labels} ({what})",
                "decide which one is right, and remove the other",
                _shown(survey, conflicts),
            ),
        )
    if others:
        alone = "" if "train" in survey.files.splits else "; to split by name may put them on both sides"
        yield (
            5 if exactly else 6,
            Finding(f"{_times(others)} {how} ({what})", f"keep one of each{alone}", _shown(survey, others)),
        )


def _classes(files: FoundFiles) -> Iterator[Finding]:
    counts = class_counts(files)
    few = near_empty_classes(counts)
    if few:
        yield Finding(
            f"{_classes_of(few)} nearly empty",
            "add images, or leave the class out",
            [f"{name}: {why}" for name, why in few.items()],
        )
    if files.classes:
        for split in list(next(iter(counts.values())))[1:]:
            without = [name for name in counts if not counts[name][split]]
            if without:
                yield Finding(f"{_classes_of(without)} without an image in {split}", "add some", without)
        unlabelled = Counter(
            split for split, label in zip(files.splits, files.labels, strict=True) if not label
        )
        for split, count in unlabelled.items():
            if files.kind == "classes":
                yield Finding(
                    f"{count:,} images of {split}/ have no class", "move them to folders of classes"
                )
    if "train" in files.splits and len(set(files.splits)) == 1:
        yield Finding("there are images to train on, and none to validate", "put some aside in val/")


def _skipped(files: FoundFiles) -> Iterator[Finding]:
    unread = [f"{reason}: {count:,}" for reason, count in files.skipped.items() if _is_lost(reason)]
    if unread:
        yield Finding("images that training does not see", "convert, move or name them", unread)


def _is_lost(reason: str) -> bool:
    return reason in OTHER_IMAGES or reason.startswith(("images", "folders"))


def _kinds(survey: Survey) -> Iterator[Finding]:
    facts = survey.facts
    for chosen, what, to_do in (
        (
            [index for index in facts if facts[index].turned],
            "turned upright by EXIF data",
            "nothing: they are read upright; other programs may not do so",
        ),
        (
            [index for index in facts if facts[index].transparent],
            "with transparency",
            "nothing, if white is right behind them",
        ),
        (
            [index for index in facts if facts[index].frames],
            "with several frames or pages",
            "nothing, if the first one is right",
        ),
        (
            [index for index in facts if facts[index].misnamed],
            "of another format than the name says",
            "nothing: the content decides",
        ),
        (
            [index for index in facts if _is_long(survey.size(index))],
            f"over {_FAR_FROM_SQUARE} times as long as wide",
            "see that the square in their middle shows enough",
        ),
    ):
        if chosen:
            names = [survey.name(index) for index in chosen]
            yield Finding(f"{_images(names)} {what}", to_do, names)


def _is_long(size: tuple[int, int]) -> bool:
    return max(size) > _FAR_FROM_SQUARE * min(size)


def _images(names: Collection[str]) -> str:
    return f"{len(names):,} image{'s' if len(names) > 1 else ''}"


def _classes_of(names: Collection[str]) -> str:
    return f"{len(names):,} class{'es' if len(names) > 1 else ''}"


def _times(groups: Sequence[Group]) -> str:
    count = sum(len(group.members) for group in groups)
    return f"{count:,} images in {len(groups):,} group{'s' if len(groups) > 1 else ''} are"


def _shown(survey: Survey, groups: Sequence[Group]) -> list[str]:
    shown = []
    for group in groups:
        names = [survey.name(index) for index in group.members[:_NAMED]]
        more = len(group.members) - len(names)
        shown.append(" = ".join(names) + (f" and {more:,} more" if more else ""))
    return shown


def in_order(splits: Collection[str]) -> list[str]:
    """Return splits with the one for training first."""
    return sorted(splits, key=lambda split: (split != "train", split))
