"""What a Visdom board costs training, sender, server and page, with Ignite's logger beside it.

PYTHONPATH=scripts:. python benchmarks/visdom_board.py            # make bench
"""

import argparse
import gc
import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from ignite.handlers.visdom_logger import VisdomLogger
from torch import nn

from handlers import StepMeans, VisdomBoard
from ignite_pipeline.board.server import front_end
from tests.support.browser import CHROMIUM, DRIVER, chromium
from tests.support.visdom_process import VisdomProcess, answering_server, hung_server, unused_port

SCALARS = 5


@contextmanager
def well() -> Iterator[str]:
    """Run a Visdom server."""
    with tempfile.TemporaryDirectory() as home:
        server = VisdomProcess(Path(home))
        server.start()
        try:
            yield server.url
        finally:
            server.kill()


@contextmanager
def nobody() -> Iterator[str]:
    """Give a URL where nobody answers."""
    yield f"http://localhost:{unused_port()}"


SERVERS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "well": well,
    "not there": nobody,
    "hung": hung_server,
    "status 500": lambda: answering_server(500),
    "status 500 after 5 s": lambda: answering_server(500, delay_s=5.0),
}


def noted(calls_s: list[float], handler: Callable[..., None]) -> Callable[..., None]:
    """Return ``handler``, noting how long each call takes."""

    def call(*args: object, **kwargs: object) -> None:
        start_s = time.perf_counter()
        handler(*args, **kwargs)
        calls_s.append(time.perf_counter() - start_s)

    return call


def small_training() -> Engine:
    """Return an engine whose step trains a small convolutional net: a millisecond or two."""
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 30 * 30, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.randn(16, 3, 32, 32), torch.randint(0, 2, (16,))

    def step(engine: Engine, batch: int) -> dict[str, torch.Tensor]:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach(), **{f"x{i}": loss.detach() for i in range(SCALARS - 1)}}

    return Engine(step)


def call_times(url: str, seconds: float) -> tuple[list[float], list[float]]:
    """Train for some seconds with a board that logs every second iteration.

    Return how long each of its calls took, and each call of a handler that does nothing, beside it: what
    the system takes from that is not the board's.
    """
    trainer = small_training()
    StepMeans(every_iters=2).attach(trainer)
    board = VisdomBoard(url, environment="faults", every_iters=2, optional=True)
    board_s: list[float] = []
    for name in ("start", "log_iteration", "log_epoch"):
        setattr(board, name, noted(board_s, getattr(board, name)))
    empty_s: list[float] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, noted(empty_s, lambda engine: None))
    end_s = time.monotonic() + seconds
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: engine.terminate() if time.monotonic() > end_s else None
    )
    gc.disable()  # a collection takes 100 ms and falls on whoever allocates just then
    try:
        with board.attach(trainer):
            trainer.run(range(500), max_epochs=10**6)
    finally:
        gc.enable()
    return board_s, empty_s


def logging_s(url: str, iterations: int) -> dict[str, float]:
    """Return the median seconds that logging 5 scalars, or a grid of images, takes on the training thread."""
    trainer = Engine(lambda engine, batch: None)
    trainer.state.metrics = {f"train/x{i}": float(i) for i in range(SCALARS)}
    trainer.state.iteration = 1
    grid = torch.rand(4, 3, 256, 256)
    scalars_s: list[float] = []
    images_s: list[float] = []
    with VisdomBoard(url, environment="ours", every_iters=1) as board:
        board.start(trainer)
        for _ in range(iterations):
            noted(scalars_s, board.log_iteration)(trainer)
            noted(images_s, board.show_image)("grid", grid)
            trainer.state.iteration += 1
            time.sleep(0.002)
    found = {
        f"ours, {SCALARS} scalars": statistics.median(scalars_s),
        "ours, a grid of 4 images of 256 × 256": statistics.median(images_s),
    }
    for name, threads in (("a thread of its own", 1), ("none", 0)):
        port = int(url.rpartition(":")[2])
        logger = VisdomLogger(server="http://localhost", port=port, num_workers=threads, env="ignite")
        engine = Engine(lambda engine, batch: None)
        engine.state.metrics = dict(trainer.state.metrics)
        logger.attach_output_handler(
            engine,
            event_name=Events.ITERATION_COMPLETED,
            tag="train",
            metric_names=list(engine.state.metrics),
        )
        start_s = time.perf_counter()
        engine.run(range(iterations))
        seconds = (time.perf_counter() - start_s) / iterations
        found[f"Ignite's VisdomLogger, with {name}, {SCALARS} scalars (mean)"] = seconds
        logger.vis.close(env="ignite")
    return found


def many_points(points: int, windows: int) -> dict[str, float]:
    """Log points into windows of a server of its own, and load its page in a browser if there is one."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as home:
        server = VisdomProcess(Path(home))
        server.start(front_end())
        trainer = Engine(lambda engine, batch: None)
        found["MiB of the server before"] = resident_mib(server.pid)
        with VisdomBoard(server.url, environment="many", every_iters=1) as board:
            board.start(trainer)
            (sender,) = (thread for thread in threading.enumerate() if thread.name == "visdom")
            assert sender.ident is not None  # it runs
            clock = time.pthread_getcpuclockid(sender.ident)
            start_s, cpu_s = time.perf_counter(), time.clock_gettime(clock)
            for iteration in range(points // windows):
                trainer.state.iteration = iteration
                trainer.state.metrics = {f"train/x{i:02d}": random.random() for i in range(windows)}
                board.log_iteration(trainer)
                time.sleep(0.003)
            cpu_s, end_s = time.clock_gettime(clock) - cpu_s, time.perf_counter()
        found["sender's share of a core"] = cpu_s / (end_s - start_s)
        found["MiB of the server after"] = resident_mib(server.pid)
        if CHROMIUM and DRIVER:
            with chromium(Path(home) / "profile") as browser:
                browser.open(f"{server.url}/env/nothing")  # so that the browser's own start does not count
                start_s = time.perf_counter()
                browser.open(f"{server.url}/env/many")
                browser.wait_for(
                    f"document.querySelectorAll('.js-plotly-plot .scatterlayer').length == {windows}"
                )
                found["seconds until the page shows all windows"] = time.perf_counter() - start_s
        server.kill()
    return found


def resident_mib(process: int) -> float:
    """Return how much memory a process holds."""
    (line,) = (line for line in Path(f"/proc/{process}/status").read_text().splitlines() if "VmRSS" in line)
    return int(line.split()[1]) / 1024


def main() -> None:
    """Print the tables, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of training beside each server")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()

    figures: dict[str, dict[str, float]] = {}
    with well() as url:
        found = logging_s(url, 300)
    figures["µs on the training thread, median"] = {name: 1e6 * seconds for name, seconds in found.items()}
    for name, server in SERVERS.items():
        with server() as url:
            board_s, empty_s = call_times(url, options.seconds)
        figures[f"calls on the training thread, server {name}"] = {
            "number": len(board_s),
            "median, µs": 1e6 * statistics.median(board_s),
            "longest, µs": 1e6 * max(board_s),
            "longest of a handler that does nothing, µs": 1e6 * max(empty_s),
        }
    figures["200,000 points in 30 windows"] = many_points(200_000, 30)
    for title, rows in figures.items():
        print(f"\n{title}")
        for name, value in rows.items():
            print(f"  {name:62} {value:12,.3g}" if value < 1000 else f"  {name:62} {value:12,.0f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
