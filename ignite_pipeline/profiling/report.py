"""What profile_data.py found, in words and as a picture."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ignite_pipeline.profiling.answers import Answer
from ignite_pipeline.profiling.recorded_run import RecordedRun
from ignite_pipeline.profiling.tuning import Setting


def report(profile: dict[str, Any], now: Setting, best: Setting) -> list[str]:
    """Return what was found, line by line."""
    lines = [f"data set alone   {profile['items_per_s']:,.0f} samples/s"]
    for cost in profile["transforms"]:
        lines.append(f"  {cost['name']:24} {cost['ms']:9.3f} ms  {cost['share']:4.0%}  -> {cost['output']}")
    for order in profile["reorderings"]:
        lines.append(f"  quicker: {' → '.join(order['names'])}: {order['speedup']:.2f}x, {order['result']}")
    if smaller := profile.get("smaller_decoding"):
        lines.append(
            f"  quicker: image.draft(None, {smaller['size']}) after Image.open: {smaller['speedup']:.2f}x the"
            f" samples/s, different: values move by {smaller['difference']:.1%} of their range"
        )
    cache = profile.get("cache")
    if cache and cache["speedup_of_samples"] > 1.05:
        fits = cache["decoded_gb"] < cache["free_gb"] / 2
        lines.append(
            f"  reading and decoding take {cache['read_and_decode_ms']:.3f} ms; decoded, all would take"
            f" {cache['decoded_gb']:.2g} GB of {cache['free_gb']:.0f} free:"
            + (
                f" keep it in memory, {cache['speedup_of_samples']:.2f}x the samples/s"
                if fits
                else " too much"
            )
        )
    if "step_s" in profile:
        share = profile["flops_per_s"] / profile["matrix_product_flops_per_s"]
        lines.append(
            f"step alone       {profile['step_s'] * 1000:.2f} ms a batch,"
            f" {profile['flops_per_s'] / 1e9:,.1f} GFLOP/s, {share:.0%} of a float32 matrix product's"
        )
    in_the_loop = "step_s" in profile
    lines.append(f"{'loader, ms a batch':58} {'alone':>9}{' in the loop' if in_the_loop else ''}")
    for one in profile["settings"]:
        rates = f"{one['loader_s'] * 1e3:9.2f} {one['loop_s'] * 1e3:11.2f}"
        lines.append(f"  {one['setting']:56} {rates if in_the_loop else rates.split()[-1].rjust(9)}")
    if "now" in profile:
        ceiling = profile["now"]["ceiling_speedup_95"] or (1.0, 1.0)
        lines.append(
            f"the loop now     {profile['now']['verdict']}; perfect loading would give"
            f" {profile['now']['ceiling_speedup'] or 1:.2f}x ({ceiling[0]:.2f} to {ceiling[1]:.2f})"
        )
    sizes = " · ".join(f"{size}: {rate:,.0f}" for size, rate in profile["batch_sizes"].items())
    lines.append(f"batch size       {sizes} samples/s; another one is another training")
    if best == now:
        lines.append(f"keep             {now}: nothing that was tried is better")
        return lines
    lines.append(f"take             {best}: predicted {profile['predicted_speedup']:.2f}x")
    if "confirmed" in profile:
        speedups = profile["confirmed"]["speedups"]
        lines.append(
            f"confirmed        {profile['confirmed']['speedup']:.2f}x"
            f" ({min(speedups):.2f} to {max(speedups):.2f}, {len(speedups)} runs of each in turn)"
        )
    return lines


def report_of_run(run: RecordedRun, answers: Sequence[Answer]) -> list[str]:
    """Return what takes the run's time, and what was tried about it, line by line."""
    lines = [f"the run          {finding.words}" for finding in run.findings]
    for answer in answers:
        for one in answer.tried:
            lines.append(f"  {one.words:48} {one.failed or _in_turns(one.speedups)}")
        lines += [f"{answer.kind:16} {words}" for words in answer.words]
        if answer.taken is not None:
            runs = f"{len(answer.taken.speedups)} runs of each in turn"
            lines.append(f"take             {answer.taken.words}: {_in_turns(answer.taken.speedups)}, {runs}")
        elif answer.tried:
            lines.append("keep             what the run has: nothing that was tried is quicker here")
    ceiling = run.timing.get("ceiling_speedup")
    if ceiling:
        low, high = run.timing["ceiling_speedup_95"]
        lines.append(f"perfect loading  would give {ceiling:.2f}x ({low:.2f} to {high:.2f})")
    return lines


def _in_turns(speedups: Sequence[float]) -> str:
    return f"{statistics.median(speedups):.2f}x ({min(speedups):.2f} to {max(speedups):.2f})"


def plot_tried(answers: Sequence[Answer], path: Path) -> None:
    """Draw how much faster the loop was with each change that was tried."""
    from matplotlib.figure import Figure

    tried = [one for answer in answers for one in answer.tried if one.speedups]
    figure = Figure(figsize=(9, 0.45 * len(tried) + 1.8), dpi=110, layout="constrained")
    taken = [answer.taken.words for answer in answers if answer.taken is not None]
    figure.suptitle(f"take {' and '.join(taken)}" if taken else "nothing is quicker here", fontsize=10)
    axis = figure.subplots()
    axis.axvline(1, color="#00798c", label="as it is")
    for place, one in enumerate(tried):
        axis.plot(one.speedups, [place] * len(one.speedups), "o", color="#c9d6df")
        axis.plot(one.speedup, place, "|", markersize=18, color="#d1495b", label="" if place else "median")
    axis.set_yticks(range(len(tried)), [one.words for one in tried])
    axis.invert_yaxis()
    axis.tick_params(labelsize=8)
    axis.set_xlabel("times as fast")
    axis.legend(fontsize=8)
    figure.savefig(path, format="png")


def plot(profile: dict[str, Any], path: Path) -> None:
    """Draw the milliseconds that a batch takes with each setting."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.45 * len(profile["settings"]) + 1.8), dpi=110, layout="constrained")
    verdict = f"{profile['now']['verdict']}: " if "now" in profile else ""
    figure.suptitle(f"{verdict}take {profile['recommended']}", fontsize=10)
    axis = figure.subplots()
    names = [one["setting"].replace(", torch", ",\ntorch") for one in profile["settings"]]
    axis.barh(
        names, [one["loop_s"] * 1e3 for one in profile["settings"]], color="#c9d6df", label="in the loop"
    )
    alone = [one["loader_s"] * 1e3 for one in profile["settings"]]
    axis.barh(names, alone, color="#d1495b", height=0.35, label="loader alone")
    if "step_s" in profile:
        axis.axvline(profile["step_s"] * 1e3, color="#00798c", label="step alone")
    axis.invert_yaxis()
    axis.tick_params(labelsize=8)
    axis.set_xlabel("ms a batch")
    axis.legend(fontsize=8)
    figure.savefig(path, format="png")
