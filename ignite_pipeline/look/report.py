"""What a survey has found, as lines of text and as what look.json holds."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ignite_pipeline.look.findings import Finding, class_counts, near_empty_classes
from ignite_pipeline.look.hamming import RADIUS
from ignite_pipeline.look.same_images import Group, NearImages
from ignite_pipeline.look.survey import Survey

_SIDES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_NAMED, _MOST_CLASSES = 3, 40


def as_json(
    survey: Survey, exact: Sequence[Group], near: NearImages, found: Sequence[Finding]
) -> dict[str, Any]:
    """Return all that was found, with every file by name."""
    facts = list(survey.facts.values())
    counts = class_counts(survey.files)
    return {
        "root": str(survey.files.root),
        "images": len(survey.files),
        "what_to_look_at": [asdict(one) for one in found],
        "counts": counts,
        "near_empty_classes": near_empty_classes(counts),
        "sizes": sizes(survey),
        "modes": _most_common(one.mode for one in facts),
        "formats": _most_common(one.format for one in facts),
        "exif_rotated": sum(one.turned for one in facts),
        "transparent": sum(one.transparent for one in facts),
        "animated": sum(one.frames for one in facts),
        "misnamed": sum(one.misnamed for one in facts),
        "channels": {"mean": survey.mean, "deviation": survey.deviation},
        "unreadable": {survey.name(index): reason for index, reason in survey.unreadable.items()},
        "skipped": dict(survey.files.skipped),
        "same": [_group(survey, group) for group in exact],
        "nearly_same": [_group(survey, group) for group in near.groups],
        "hash": {"radius_bits": RADIUS, "false_alarms": near.false_alarms, "too_plain": near.plain},
    }


def sizes(survey: Survey) -> dict[str, Any]:
    """Return the range of widths, heights (pixels) and width / height, and how many images have which size.

    ``shortest_side`` counts images by their shortest side: "32" are those of 32 to 63 pixels.
    """
    if not survey.facts:
        return {}
    every = [survey.size(index) for index in survey.facts]
    shortest = Counter(max((low for low in _SIDES if low <= min(size)), default=0) for size in every)
    return {
        "width": _range([width for width, _ in every]),
        "height": _range([height for _, height in every]),
        "aspect": _range([round(width / height, 3) for width, height in every]),
        "shortest_side": {str(low): shortest[low] for low in sorted(shortest)},
    }


def as_text(found: Sequence[Finding], content: dict[str, Any]) -> list[str]:
    """Return lines to print: what to look at first, then the figures."""
    lines = [f"{printable(content['root'])}: {content['images']:,} images", ""]
    lines += ["What to look at"] if found else ["Nothing to worry about was found."]
    for number, one in enumerate(found, 1):
        lines += [f"{number:3}. {one.what}", f"     → {one.to_do}"]
        lines += [f"       {printable(example)}" for example in one.such_as[:_NAMED]]
        if len(one.such_as) > _NAMED:
            lines.append(f"       and {len(one.such_as) - _NAMED:,} more, in look.json")
    lines += ["", *_count_lines(content["counts"]), ""]
    size = content["sizes"]
    if size:
        for name, unit in (("width", "px"), ("height", "px"), ("aspect", "width / height")):
            low, median, high = (f"{size[name][key]:,g}" for key in ("min", "median", "max"))
            lines.append(f"{name:17} {low} to {high}, median {median} {unit}")
        sides = [f"from {low}: {count:,}" for low, count in size["shortest_side"].items()]
        lines.append(f"{'shortest side':17} {' · '.join(sides)} (px)")
    for name in ("formats", "modes", "skipped"):
        if content[name]:
            counted = " · ".join(f"{printable(key)} {count:,}" for key, count in content[name].items())
            lines.append(f"{name:17} {counted}")
    for name in ("mean", "deviation"):
        red, green, blue = content["channels"][name]
        lines.append(f"{'channel ' + name:17} red {red:.4f} · green {green:.4f} · blue {blue:.4f} (of 1)")
    hashed = content["hash"]
    lines.append(
        f"{'copies':17} {len(content['same']):,} groups the same, {len(content['nearly_same']):,} nearly;"
        f" {hashed['false_alarms']:,} false alarms of the hash were rejected,"
        f" {hashed['too_plain']:,} images are too plain for it"
    )
    return lines


def printable(text: str) -> str:
    r"""Return a name as one line that every terminal shows.

    >>> printable("caf\udce9\n.png")
    'caf\\udce9\\n.png'
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _count_lines(counts: dict[str, dict[str, int]]) -> list[str]:
    splits = list(next(iter(counts.values())))
    named = sorted(counts, key=lambda name: -sum(counts[name].values()))
    shown = (
        named if len(named) <= _MOST_CLASSES else named[: _MOST_CLASSES // 2] + named[-_MOST_CLASSES // 2 :]
    )
    rows = [(name or "images", counts[name]) for name in shown]
    if len(counts) > 1:
        rows.append(("all", {split: sum(of[split] for of in counts.values()) for split in splits}))
    width = max(17, *(len(printable(name)) for name, _ in rows))
    lines = [f"{'':{width}} " + " ".join(f"{split or 'images':>9}" for split in splits)]
    for name, of_splits in rows:
        lines.append(f"{printable(name):{width}} " + " ".join(f"{of_splits[split]:9,}" for split in splits))
    if len(shown) < len(named):
        lines.insert(1 + _MOST_CLASSES // 2, f"… {len(named) - len(shown):,} classes between, in look.json")
    return lines


def _group(survey: Survey, group: Group) -> dict[str, Any]:
    names = [survey.name(index) for index in group.members]
    return {"files": names, "leak": group.leak, "conflict": group.conflict}


def _range(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _most_common(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())
