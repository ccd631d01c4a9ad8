"""What profile_data.py found, in words and as a picture."""

from pathlib import Path
from typing import Any

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
            f" {profile['flops_per_s'] / 1e9:,.1f} GFLOP/s, {share:.0%} of a matrix product's"
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
    figure.savefig(path)
