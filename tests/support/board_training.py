"""A short training beside a board, and what a server is to hold after it."""

from contextlib import ExitStack

import torch
from ignite.engine import Engine, Events
from torch import nn

from handlers import EvaluateEachEpoch, StepMeans, VisdomBoard, model_sha256
from handlers.visdom_windows import safe_name

EPOCHS = 6
TEXT = safe_name("text/about")


def train(url, *, on_epoch=None, epochs=EPOCHS, board=True, deadline_s=60.0, **options):
    """Train a line for a few epochs beside a board; return the digest of the model."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine, batch):
        loss = nn.functional.mse_loss(model(batch), batch.sum(1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    trainer = Engine(step)
    evaluator = Engine(lambda engine, batch: None)
    evaluator.add_event_handler(Events.COMPLETED, lambda: evaluator.state.metrics.update(loss=0.5))
    StepMeans(every_iters=2).attach(trainer)
    EvaluateEachEpoch(evaluator, [0]).attach(trainer)
    with ExitStack() as stack:
        if board:
            texts = {"about": lambda: "it <goes>"}
            board = VisdomBoard(
                url, environment="a-run", every_iters=2, period_s=0.05, texts=texts, **options
            )
            stack.enter_context(board.attach(trainer))
            # A busy machine may need more than the usual three seconds.
            stack.callback(board.close, deadline_s)
        if on_epoch is not None:
            trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: on_epoch(engine.state.epoch))
        trainer.run(torch.randn(4, 8, 4), max_epochs=epochs)
    return model_sha256(model)


def curve(server, name, window="loss"):
    traces = server.windows("a-run")[window]["content"]["data"]
    (trace,) = (trace for trace in traces if trace["name"] == name)
    return list(zip(trace["x"], trace["y"], strict=True))


def assert_complete(server, epochs=EPOCHS):
    ends = [4 * epoch for epoch in range(1, epochs + 1)]
    assert [x for x, _ in curve(server, "training, epoch mean")] == ends
    assert curve(server, "validation") == [(x, 0.5) for x in ends]
    assert [x for x, _ in curve(server, "training, recent mean")] == list(range(2, 4 * epochs + 1, 2))
    assert server.windows("a-run")[TEXT]["content"] == "it &lt;goes&gt;"  # sent once, and never changed
