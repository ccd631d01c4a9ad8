"""What a person sees: a real browser on a real server."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from PIL import Image

from handlers import VisdomBoard
from handlers.run_windows import run_environment
from handlers.visdom_windows import safe_name

import run_cifar2
import run_pix2pix
from browser import CHROMIUM, DRIVER, chromium
from conftest import write_pairs
from visdom_process import VisdomProcess, unused_port

pytestmark = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no chromium, no chromedriver")

QUANTITIES = {"learning rate": "lr", "PSNR (dB)": "psnr", "SSIM": "ssim", "L1 distance": "l1"}
PLOTS = "Array.from(document.querySelectorAll('.js-plotly-plot'))"
CURVES = f"""Object.fromEntries({PLOTS}.map(plot => [
    plot.layout.yaxis.title.text,
    Object.fromEntries(plot._fullData.map(trace => [trace.name, [Array.from(trace.x), Array.from(trace.y)]]))
]))"""


@pytest.fixture
def server(front_end, tmp_path):
    server = VisdomProcess(tmp_path / "home")
    server.start(front_end)
    yield server
    server.kill()


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path / "profile") as browser:
        yield browser


def train(image_tree, directory, *options):
    arguments = [
        "--data-root",
        image_tree,
        "--output",
        directory,
        "--epochs",
        3,
        "--batch-size",
        16,
        *options,
    ]
    run_cifar2.main([*map(str, arguments), "--batch-size", "16"])


def epochs(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "epoch"]


def assert_shows(browser, url, directory, plots):
    """Assert that the page has those plots, with the curves of ``metrics.jsonl``, and reports no error."""
    browser.open(url)
    browser.wait_for(f"{PLOTS}.length == {len(plots)}")
    curves = browser.evaluate(CURVES)
    assert set(curves) == plots
    last = epochs(directory)[-1]
    for title in plots - {"seconds"}:
        quantity = QUANTITIES.get(title, title)
        for name, prefix in (("training, epoch mean", "train"), ("validation", "val")):
            assert (name in curves[title]) == (f"{prefix}/{quantity}" in last and quantity != "lr")
            if name in curves[title]:
                x, y = curves[title][name]
                assert len(x) == len(epochs(directory))
                assert (x[-1], y[-1]) == (last["iteration"], last[f"{prefix}/{quantity}"])
    assert set(curves["seconds"]) >= {"computing", "evaluating"}
    x, y = curves["seconds"]["computing"]
    assert (x[-1], y[-1]) == (last["epoch"], last["time/compute_s"])
    assert not browser.console()


def test_a_classifier_shows_its_curves(server, browser, image_tree, tmp_path):
    run = tmp_path / "run"
    train(image_tree, run, "--visdom", server.url)
    plots = {"loss", "accuracy", "learning rate", "seconds"}
    assert_shows(browser, f"{server.url}/env/{run_environment(run)}", run, plots)
    assert "too few iterations to say" in browser.evaluate("document.body.innerText")


def test_pix2pix_shows_its_curves_and_the_very_pixels_of_its_samples(server, browser, tmp_path):
    run = tmp_path / "run"
    write_pairs(tmp_path / "pairs", {"train": 4, "val": 2}, side=32)
    options = ["--image-size", "32", "--epochs", "2", "--decay-epochs", "0", "--visdom", server.url]
    run_pix2pix.main(["--data-root", str(tmp_path / "pairs"), "--output", str(run), *options])
    losses = {"loss_d", "loss_g_adversarial", "loss_g_reconstruction"}
    plots = {*losses, "accuracy_real", "accuracy_fake", "L1 distance", "PSNR (dB)", "SSIM", "learning rate"}
    assert_shows(browser, f"{server.url}/env/{run_environment(run)}", run, {*plots, "seconds"})
    newest = np.asarray(Image.open(run / "samples" / "epoch_0002.png"))
    assert np.array_equal(shown_image(browser), newest)


def shown_image(browser):
    """Return the pixels of the first image, as the browser has decoded them."""
    browser.wait_for("document.querySelector('.pane-image img, .content img')?.complete")
    url = browser.evaluate("""(() => {
        const image = document.querySelector('.content img');
        const canvas = document.createElement('canvas');
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        canvas.getContext('2d').drawImage(image, 0, 0);
        return canvas.toDataURL('image/png');
    })()""")
    png = base64.b64decode(url.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_markup_shows_as_text(server, browser):
    markup = "<script>document.title = 'gone'</script><b>bold</b>"
    trainer = Engine(
        lambda engine, batch: engine.state.metrics.update({f"val/{markup}": 1.0, f"{markup}/x": 2.0})
    )
    board = VisdomBoard(
        server.url, environment="markup", labels={"x": markup}, texts={markup: lambda: markup}
    ).attach(trainer)
    board.show_image(markup, torch.zeros(3, 8, 8), caption=markup)
    with board:
        trainer.run([0])
    browser.open(f"{server.url}/env/markup")
    browser.wait_for(f"{PLOTS}.length == 2")
    text = browser.evaluate("document.body.innerText")
    assert text.count("<b>bold</b>") >= 4  # title and text of a pane, caption, axis title
    assert browser.evaluate("document.title") == "visdom"
    assert browser.evaluate("document.querySelectorAll('#app b, #app script').length") == 0
    assert not browser.console()


def test_past_runs_are_served_from_their_directories(
    front_end, browser, image_tree, tmp_path, start_script, monkeypatch
):
    runs = tmp_path / "runs" / "cifar2"
    for seed, name in enumerate(("one", "two")):
        train(image_tree, runs / name, "--visdom", "off", "--seed", seed)
    monkeypatch.setenv("XDG_CACHE_HOME", str(front_end.parent.parent))
    monkeypatch.chdir(tmp_path)
    port = unused_port()
    process = start_script("serve_visdom.py", "--port", port)
    try:
        assert "shows 2 runs under runs/" in process.stdout.readline()
        url = f"http://localhost:{port}"
        plots = {"loss", "accuracy", "learning rate", "seconds"}
        server = VisdomProcess(tmp_path, port=port)
        server.wait_for("cifar2_one", safe_name("time/"))
        server.wait_for("compare", safe_name("accuracy · validation"))
        assert_shows(browser, f"{url}/env/cifar2_one", runs / "one", plots)
        assert "completed" in browser.evaluate("document.body.innerText")
        browser.open(f"{url}/env/compare")
        browser.wait_for(f"{PLOTS}.length == 4")
        curves = browser.evaluate(CURVES)
        assert set(curves["accuracy"]) == {"cifar2_one", "cifar2_two"}
    finally:
        process.kill()
        process.communicate()
