import itertools
import json
import math
import os
import re
from pathlib import Path

import pytest

from handlers.run_windows import RunWindows, compare, run_environment
from handlers.visdom_windows import (
    Curves,
    ImagePane,
    TextPane,
    TimeBars,
    Trace,
    safe_name,
)


def shown(window):
    return json.loads(f"{{{window.content()}}}")


def epoch(number, **metrics):
    return {"kind": "epoch", "epoch": number, "iteration": 10 * number, **metrics}


def test_a_short_trace_keeps_every_point():
    trace = Trace()
    for x in range(500):
        trace.add(x, x / 3)
    assert trace.points() == [(x, x / 3) for x in range(500)]


@pytest.mark.parametrize("count", [501, 1_000, 1_001, 200_000])
def test_a_long_trace_is_bounded_and_even_and_keeps_peaks_and_the_newest(count):
    trace = Trace()
    for x in range(count):
        trace.add(x, {17: -50.0, count // 2: 99.0}.get(x, math.sin(x)))
    points = trace.points()
    assert len(points) <= 1001
    assert (17, -50.0) in points
    assert (count // 2, 99.0) in points
    assert points[-1] == (count - 1, math.sin(count - 1))
    x = [point[0] for point in points]
    assert x == sorted(set(x))
    assert max(b - a for a, b in itertools.pairwise(x)) <= 4 * count / 500


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_not_finite_is_a_gap_and_stays_one(value):
    trace = Trace(max_buckets=8)
    for x in range(1000):
        trace.add(x, value if x == 500 else 1.0)
    assert [y for _, y in trace.points()].count(None) == 1


def test_training_and_validation_share_a_window_by_iteration():
    windows = RunWindows()
    windows.add({"kind": "iteration", "epoch": 1, "iteration": 5, "train/loss": 4.0})
    windows.add(epoch(1, **{"train/loss": 3.0, "val/loss": 2.0, "val/psnr": 20.0}))
    assert list(windows.windows) == ["loss", "psnr"]
    figure = shown(windows.windows["loss"])
    assert [(trace["name"], trace["x"], trace["y"]) for trace in figure["data"]] == [
        ("training, recent mean", [5], [4.0]),
        ("training, epoch mean", [10], [3.0]),
        ("validation", [10], [2.0]),
    ]
    assert figure["layout"]["xaxis"]["title"]["text"] == "iteration"
    assert figure["layout"]["showlegend"]
    assert shown(windows.windows["psnr"])["layout"]["yaxis"]["title"]["text"] == "PSNR (dB)"


def test_a_metric_for_each_class_has_one_window_with_a_curve_for_each():
    windows = RunWindows()
    windows.add(epoch(1, **{"val/recall/cat": 0.5, "val/recall/dog": 1.0, "train/recall/cat": 0.25}))
    assert list(windows.windows) == ["recall"]
    figure = shown(windows.windows["recall"])
    assert [(trace["name"], trace["y"]) for trace in figure["data"]] == [
        ("validation, cat", [0.5]),
        ("validation, dog", [1.0]),
        ("training, epoch mean, cat", [0.25]),
    ]


def test_a_learning_rate_is_one_curve():
    windows = RunWindows()
    windows.add({"kind": "iteration", "epoch": 1, "iteration": 5, "train/lr": 0.1})
    windows.add(epoch(1, **{"train/lr": 0.2}))
    figure = shown(windows.windows["lr"])
    assert [trace["y"] for trace in figure["data"]] == [[0.1, 0.2]]
    assert figure["layout"]["yaxis"]["rangemode"] == "tozero"


def test_metrics_of_any_name_get_a_curve():
    windows = RunWindows()
    windows.add(epoch(1, loss=1.0, **{"test/loss": 2.0}))
    assert [trace["name"] for trace in shown(windows.windows["loss"])["data"]] == ["loss", "test"]


def test_times_are_stacked_by_epoch_in_seconds_and_bounded():
    bars = TimeBars()
    for number in range(1, 1001):
        bars.add(number, {"fetch": 0.5, "compute": 2.0})
    figure = shown(bars)
    assert figure["layout"]["barmode"] == "stack"
    assert figure["layout"]["yaxis"]["title"]["text"] == "seconds"
    heights = {trace["name"]: (trace["x"][-1], trace["y"][-1], len(trace["x"])) for trace in figure["data"]}
    assert heights["waiting for data"] == (1000, 0.5, 200)
    assert heights["computing"] == (1000, 2.0, 200)


def test_a_window_has_another_version_when_it_looks_different_and_only_then():
    text = TextPane("run")
    text.set("a")
    before = text.version
    text.set("a")
    assert text.version == before
    text.set("b")
    assert text.version != before


def test_text_that_visdom_would_take_for_markup_is_escaped():
    text = TextPane("run")
    text.set("<script>alert(1)</script>\n& more")
    assert shown(text)["data"][0]["content"] == "&lt;script&gt;alert(1)&lt;/script&gt;<br>&amp; more"
    curves = Curves("loss", y_title="<b>loss</b>")
    curves.add("<i>a</i>", 1, 1.0)
    figure = shown(curves)
    assert figure["layout"]["yaxis"]["title"]["text"] == "&lt;b&gt;loss&lt;/b&gt;"
    assert figure["data"][0]["name"] == "&lt;i&gt;a&lt;/i&gt;"


def test_a_caption_that_looks_like_the_image_is_left_alone():
    image = ImagePane('"src": "@"')
    image.set(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x08\x00\x00\x00\x04", caption='"src": "@"')
    pane = shown(image)
    assert pane["data"][0]["content"]["caption"] == '"src": "@"'
    assert pane["data"][0]["content"]["src"].startswith("data:image/png;base64,")
    assert pane["opts"]["title"] == '"src": "@"'


@pytest.mark.parametrize("name", ["a/b c<d>", "../../etc", "é", "ü", "", "acc@1", "acc 1", "-"])
def test_names_are_made_safe_and_stay_apart(name):
    assert re.fullmatch("[A-Za-z0-9_-]+", safe_name(name))
    assert safe_name(name) not in {safe_name(other) for other in ("a b c d", "etc", "acc-1", "acc_1")}


def test_a_name_that_is_safe_is_left_as_it_is():
    assert safe_name("cifar2_2026-1") == "cifar2_2026-1"
    assert run_environment(Path("runs/cifar2/20261121-0")) == "cifar2_20261121-0"


def test_a_metric_named_like_a_window_of_ours_has_one_of_its_own():
    windows = RunWindows()
    windows.add(epoch(1, **{"val/time": 1.0, "time/fetch_s": 2.0, "val/text-run": 3.0}))
    windows.set_text("run", "x")
    assert len(windows.windows) == 4


def test_runs_are_compared_by_quantity():
    runs = {"a": RunWindows(), "b": RunWindows()}
    runs["a"].add(epoch(1, **{"val/loss": 1.0, "train/loss": 3.0}))
    runs["b"].add(epoch(1, **{"val/loss": 2.0}))
    windows = compare(runs)
    assert list(windows) == ["loss · training, epoch mean", "loss · validation"]
    validation = windows["loss · validation"]
    assert [(trace["name"], trace["y"]) for trace in shown(validation)["data"]] == [
        ("a", [1.0]),
        ("b", [2.0]),
    ]
    before = validation.version
    assert compare(runs)["loss · validation"].version == before
    runs["b"].add(epoch(2, **{"val/loss": 0.5}))
    assert compare(runs)["loss · validation"].version != before


def test_the_sample_of_the_last_epoch_is_shown_whatever_the_times_of_the_files(tmp_path):
    (tmp_path / "samples").mkdir()
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x08\x00\x00\x00\x04"
    for age, name in enumerate(("epoch_10000", "epoch_9999", "epoch_0001")):
        path = tmp_path / "samples" / f"{name}.png"
        path.write_bytes(header)
        os.utime(path, (age, age))
    windows = RunWindows()
    windows.show_samples(tmp_path)
    assert windows.windows["image/samples"].caption == "epoch_10000"


def test_a_name_that_is_no_text_is_made_safe():
    assert re.fullmatch("[A-Za-z0-9_-]+", safe_name("\ud800"))
    assert safe_name("\ud800") != safe_name("\udcff")


def test_a_text_is_cut_where_it_is_very_long():
    text = TextPane("run")
    text.set("x" * 10**7)
    assert len(text.content()) < 30_000


@pytest.mark.parametrize("png", [b"", b"GIF89a" + bytes(40), b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_what_is_no_image_changes_nothing(png):
    windows = RunWindows()
    with pytest.raises(ValueError, match=r"not a PNG|0 x 0 pixels"):
        windows.set_image("samples", png)
    assert not windows.windows


def test_a_pane_is_not_as_high_as_an_image_may_claim_to_be():
    image = ImagePane("high")
    image.set(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x10\x00\x00")
    assert shown(image)["opts"]["height"] == 2000


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_seconds_that_are_none_have_no_bar(value):
    bars = TimeBars()
    bars.add(1, {"fetch": value, "compute": 2.0, "lunch": 9.0})
    assert [(trace["name"], trace["y"]) for trace in shown(bars)["data"]] == [("computing", [2.0])]


def test_curves_are_bounded_and_those_that_are_there_go_on():
    windows = RunWindows()
    for number in (1, 2):
        windows.add(epoch(number, **{f"val/{name}": 1.0 for name in range(1000)}))
    assert windows.is_full
    assert len(windows.windows) == 300 + 1
    assert [x for x, _ in windows.windows["299"].traces["validation"].points()] == [10, 20]
    assert "300 curves at most" in windows.windows["text/left out"].text
