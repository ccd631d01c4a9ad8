"""What a person sees: a real browser on a real server."""

import base64
import io
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from PIL import Image

import run_cifar2
import run_pix2pix
from handlers import VisdomBoard
from handlers.run_windows import run_environment
from handlers.visdom_windows import safe_name
from tests.support.browser import CHROMIUM, DRIVER, chromium
from tests.support.drawn import write_pairs
from tests.support.visdom_process import VisdomProcess, unused_port

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no chromium, no chromedriver"),
]

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


ATTACKS = """(async (board, pane, named) => {
    const post = (path, content) => fetch(board + path, {method: "POST", mode: "no-cors", body: content});
    const outcome = promise => promise.then(() => "taken", () => "refused");
    const element = (tag, attributes) => new Promise((resolve, reject) => {
        const told = {onload: resolve, onerror: reject};
        const made = Object.assign(document.createElement(tag), told, attributes);
        document.body.append(made);
    });
    const request = method => new Promise((resolve, reject) => {
        const made = Object.assign(new XMLHttpRequest(), {onload: resolve, onerror: reject});
        made.open(method, board + "/events");
        made.send(pane);
    });
    const socket = path => new Promise((resolve, reject) =>
        Object.assign(new WebSocket(board.replace("http", "ws") + path), {onopen: resolve, onerror: reject}));
    await element("iframe", {src: board + "/env/victim"});
    const form = Object.assign(document.createElement("form"), {
        method: "POST", enctype: "text/plain", action: board + "/events", target: "answer"});
    form.append(Object.assign(document.createElement("input"), {name: named[0], value: named[1]}));
    document.body.append(form);
    const answered = element("iframe", {name: "answer"}).then(() => new Promise(resolve => {
        document.querySelector("[name=answer]").onload = resolve;
        form.submit();
    }));
    await Promise.allSettled([
        answered, post("/events", pane), post("/delete_env", '{"eid": "victim"}'),
        post("/close", '{"eid": "victim", "win": null}'), post("/env/forged", '{"eid": "forged"}')]);
    return {
        "fetch": await outcome(fetch(board + "/")),
        "fetch with cookies": await outcome(fetch(board + "/", {credentials: "include"})),
        "XHR, GET": await outcome(request("GET")),
        "XHR, POST": await outcome(request("POST")),
        "socket": await outcome(socket("/socket")),
        "socket of programs": await outcome(socket("/vis_socket")),
        "script": await outcome(element("script", {src: board + "/static/js/jquery.min.js"})),
        "style": await outcome(element("link", {rel: "stylesheet", href: board + "/static/css/style.css"})),
        "jquery": typeof window.jQuery,
    };
})"""


@contextmanager
def other_page():
    """Serve an empty page on a port of its own."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>other</title><body></body>")

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield http.server_address[1]
        finally:
            http.shutdown()
            thread.join()


def show_victim(server):
    trainer = Engine(lambda engine, batch: engine.state.metrics.update({"val/x": 1.0}))
    with VisdomBoard(server.url, environment="victim").attach(trainer):
        trainer.run([0])


@pytest.mark.parametrize("other", ["localhost", "127.0.0.1"])
def test_a_page_of_another_origin_can_neither_read_nor_change_the_board(server, browser, other):
    show_victim(server)
    pane = {"win": "w", "eid": "forged", "data": [{"type": "text", "content": "x"}], "opts": {"title": ""}}
    text = json.dumps(pane)
    with other_page() as port:
        browser.open(f"http://{other}:{port}")
        given = [server.url, text, halves(text, "by_form")]
        outcomes = browser.evaluate(f"{ATTACKS}(...{json.dumps(given)})")
        assert outcomes.pop("jquery") == "undefined"
        assert set(outcomes.values()) == {"refused"}, outcomes
        browser.enter_frame(0)
        assert browser.evaluate("document.querySelectorAll('#app').length") == 0
    assert server.windows("forged") == server.windows("by_form") == {}
    assert set(server.windows("victim")) == {"x"}
    browser.open(f"{server.url}/env/victim")
    browser.console()  # what the other page was refused
    browser.wait_for(f"{PLOTS}.length == 1")
    assert not browser.console()


def halves(text, environment):
    """Return JSON as name and value of a form's field: sent as plain text, an = stands between them."""
    text = text.replace("forged", environment)
    cut = text.index('"title": "') + len('"title": "')
    return [text[:cut], text[cut:]]


def test_a_name_that_was_made_to_mean_this_machine_shows_nothing(server, tmp_path):
    show_victim(server)
    with chromium(tmp_path / "profile", "--host-resolver-rules=MAP evil.test 127.0.0.1") as browser:
        browser.open(f"http://evil.test:{server.port}/env/victim")
        assert browser.evaluate("document.body.innerText").startswith("The board does not go by this name")


def test_a_link_on_another_page_leads_to_the_board(server, browser):
    show_victim(server)
    with other_page() as port:
        browser.open(f"http://127.0.0.1:{port}")
        browser.evaluate(f"void (location.href = '{server.url}/env/victim')")
        browser.wait_for(f"{PLOTS}.length == 1")
