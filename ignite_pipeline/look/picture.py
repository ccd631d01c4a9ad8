"""One picture of a folder of images: samples of each class, counts, sizes, and images that are the same."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from handlers.plain_text import plain_text
from ignite_pipeline.data.image_files import UnreadableImage, read_image
from ignite_pipeline.look.findings import class_counts, in_order
from ignite_pipeline.look.report import printable
from ignite_pipeline.look.same_images import Group
from ignite_pipeline.look.survey import Survey

_SIDE, _SHEET_WIDTH, _MOST_ROWS, _MOST_PAIRS, _MOST_BARS = 112, 1120, 8, 6, 20
COLORS = ("#00798c", "#d1495b", "#edae49", "#66a182")
Rows = list[tuple[str, list[Image.Image]]]


def draw(
    survey: Survey, same: Sequence[Group], nearly_same: Sequence[Group], path: Path, *, seed: int = 0
) -> None:
    """Write a PNG of random samples, counts, sizes, and some groups, those in several splits first."""
    from matplotlib.figure import Figure

    rows = sample_rows(survey, seed)
    groups = [("the same", group) for group in same] + [("nearly the same", group) for group in nearly_same]
    groups.sort(key=lambda group: (not group[1].leak, not group[1].conflict))
    heights = [max(4.8, 0.97 * len(rows) + 0.5)] + [2.0] * bool(groups)
    figure = Figure(figsize=(15, sum(heights) + 0.5), dpi=100, layout="constrained")
    figure.suptitle(_title(survey, same, nearly_same), fontsize=13)
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    left, right = parts[0].subfigures(1, 2, width_ratios=[2, 1])
    _draw_samples(left.subplots(), rows, len(survey.files.classes))
    bars, scatter = right.subplots(2, 1)
    _draw_counts(bars, survey)
    _draw_sizes(scatter, survey)
    if groups:
        axes = parts[1].subplots(1, _MOST_PAIRS)
        for axis in axes:
            axis.set_axis_off()
        for axis, (how, group) in zip(axes, groups, strict=False):
            _draw_pair(axis, survey, how, group)
    figure.savefig(path, format="png")


def sample_rows(survey: Survey, seed: int) -> Rows:
    """Return rows of random images of one shape, under the names of their classes: the 8 largest."""
    members: defaultdict[str, list[int]] = defaultdict(list)
    for index in survey.facts:
        for name in survey.files.classes_of(index) or ("",):
            members[name].append(index)
    generator = random.Random(seed)
    largest = sorted(members, key=lambda name: -len(members[name]))[:_MOST_ROWS]
    shape = _shape(survey)
    columns, rows_each = _SHEET_WIDTH // shape[0], max(1, 4 // len(largest))
    rows = []
    for name in sorted(largest):
        chosen = generator.sample(members[name], min(columns * rows_each, len(members[name])))
        for start in range(0, len(chosen), columns):
            tiles = [_tile(survey, index, shape) for index in chosen[start : start + columns]]
            rows.append((name if start == 0 else "", tiles))
    return rows


def _shape(survey: Survey) -> tuple[int, int]:
    """Return the width and height of a tile: those that most images are like."""
    aspect = float(np.median([width / height for width, height in map(survey.size, survey.facts)]))
    return int(_SIDE * min(2.0, max(0.5, aspect))), _SIDE


def _tile(survey: Survey, index: int, shape: tuple[int, int]) -> Image.Image:
    tile = Image.new("RGB", shape, "white")
    try:
        image = read_image(survey.files.root / survey.name(index), least_side=2 * _SIDE)
    except UnreadableImage:  # it was there a moment ago
        return tile
    scale = min((most - 4) / side for most, side in zip(shape, image.size, strict=True))
    width, height = (max(1, round(scale * side)) for side in image.size)
    # Enlarged pixels stay visible as what they are.
    method = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.BICUBIC
    tile.paste(image.resize((width, height), method), ((shape[0] - width) // 2, (shape[1] - height) // 2))
    return tile


def _title(survey: Survey, same: Sequence[Group], nearly_same: Sequence[Group]) -> str:
    count = len(survey.files.classes)
    parts = [f"{survey.files.root.resolve().name}: {len(survey.files):,} images"]
    parts += [f"{count:,} classes"] if count > 1 else []
    parts += [f"{len(survey.unreadable):,} cannot be read"] if survey.unreadable else []
    copies = [*same, *nearly_same]
    if copies:
        leaks = sum(group.leak for group in copies)
        parts.append(f"{len(copies):,} shown more than once" + (f", {leaks:,} across splits" * bool(leaks)))
    return printable(" · ".join(parts)).replace("$", r"\$")


def _draw_samples(axis: Any, rows: Rows, classes: int) -> None:
    width, height = rows[0][1][0].size
    sheet = Image.new("RGB", (_SHEET_WIDTH // width * width, height * len(rows)), "white")
    for row, (_, tiles) in enumerate(rows):
        for column, tile in enumerate(tiles):
            sheet.paste(tile, (column * width, row * height))
    axis.imshow(np.asarray(sheet), interpolation="antialiased")
    axis.set_yticks([(row + 0.5) * height for row in range(len(rows))], [_short(name) for name, _ in rows])
    axis.set_xticks([])
    axis.tick_params(length=0, labelsize=10)
    axis.spines[:].set_visible(False)
    more = f" of the {_MOST_ROWS} largest of {classes:,} classes" if classes > _MOST_ROWS else ""
    axis.set_title(f"random samples{more}, upright", fontsize=11)


def _draw_counts(axis: Any, survey: Survey) -> None:
    counts = class_counts(survey.files)
    named = sorted(counts, key=lambda name: -sum(counts[name].values()))
    shown = named if len(named) <= _MOST_BARS else named[: _MOST_BARS // 2] + named[-_MOST_BARS // 2 :]
    splits = list(counts[shown[0]])
    what = "images of each class"
    if len(shown) < len(named):
        what = f"images of the largest and smallest of {len(named):,} classes"
    places, height = np.arange(len(shown)), 0.8 / len(splits)
    for number, split in enumerate(splits):
        values = [counts[name][split] for name in shown]
        color = COLORS[number % len(COLORS)]
        offset = (number - (len(splits) - 1) / 2) * height
        bars = axis.barh(places + offset, values, height, label=split, color=color)
        axis.bar_label(bars, [f"{value:,}" for value in values], fontsize=8, padding=2)
    axis.set_yticks(places, [_short(name) for name in shown])
    if named == [""]:
        axis.set_yticks([])
        what = "images"
    if splits != [""]:
        axis.legend(fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(splits), frameon=False)
    axis.set_title(what, fontsize=11, loc="left")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.margins(x=0.15)
    axis.invert_yaxis()
    axis.tick_params(labelsize=9)


def _draw_sizes(axis: Any, survey: Survey) -> None:
    counts = Counter(survey.size(index) for index in survey.facts)
    (width, height), most = counts.most_common(1)[0]
    shapes = np.array(list(counts))
    area = 10 + 300 * np.array(list(counts.values())) / len(survey.facts)
    axis.scatter(shapes[:, 0], shapes[:, 1], s=area, color=COLORS[0], alpha=0.4, linewidths=0)
    low, high = shapes.min() / 2.1, shapes.max() * 2.1
    axis.plot([low, high], [low, high], color="#8d96a3", linewidth=0.8, linestyle="--", zorder=0)
    axis.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    ticks = [2**power for power in range(20) if low <= 2**power <= high]
    ticks = ticks[:: -(-len(ticks) // 6)]
    axis.minorticks_off()
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.set(xlabel="width, px", ylabel="height, px")
    axis.tick_params(labelsize=9)
    axis.grid(alpha=0.3)
    what = f"sizes: all are {width} × {height} px"
    if len(counts) > 1:
        share = most / len(survey.facts)
        what = f"{len(counts):,} sizes" + (f", {share:.0%} are {width} × {height} px" if share > 0.05 else "")
    axis.set_title(what, fontsize=11, loc="left")


def _draw_pair(axis: Any, survey: Survey, how: str, group: Group) -> None:
    """Draw two images of a group: of different splits or labels, if there are."""
    files, first = survey.files, group.members[0]
    others = [
        index
        for index in group.members[1:]
        if (files.splits[index] != files.splits[first]) >= group.leak
        and (files.labels[index] != files.labels[first]) >= (group.conflict and not group.leak)
    ]
    pair = [first, (others or group.members[1:])[0]]
    splits = in_order({files.splits[index] for index in pair})
    where = f" in {' and '.join(splits)}" if group.leak else " under two labels" if group.conflict else ""
    names = "\n".join(_short(survey.name(index), 32) for index in pair)
    axis.imshow(np.concatenate([np.asarray(_tile(survey, index, _shape(survey))) for index in pair], axis=1))
    color = COLORS[1] if where else "black"
    axis.set_title(f"{how}{where}\n{names}", fontsize=9, color=color)


def _short(name: str, most: int = 18) -> str:
    name = printable(name)
    if len(name) > most:
        name = f"{name[: most // 2]}…{name[1 - most // 2 :]}"
    return plain_text(name)
