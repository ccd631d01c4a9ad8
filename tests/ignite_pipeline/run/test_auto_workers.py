"""The number of workers is found in the course of real training, on real processes."""

import hashlib
import time
from functools import partial

import pytest
import torch
from ignite.engine import Engine, Events
from torch.utils.data import Dataset

from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.run.auto_workers import AutoWorkers
from tests.support.clocks import Clock


class Noisy(Dataset):
    """Samples with a random part; after ``ms`` milliseconds, in which a processor has nothing to do."""

    def __init__(self, ms=0):
        self.ms = ms

    def __len__(self):
        return 64

    def __getitem__(self, index):
        time.sleep(self.ms / 1000)
        return index + torch.rand(())


def train(iterations, *, seconds_of=None, **options):
    """Train on real workers; return the digest of all batches that a step saw, and what was decided.

    An iteration takes, on a clock of its own, what ``seconds_of(workers)`` says, nearly all of it fetching.
    """
    clock, workers_now = Clock(), [0]
    seen, answers = hashlib.sha256(), []

    def make_loader(*, num_workers, start_iteration=0):
        workers_now[0] = num_workers
        return endless_loader(
            Noisy(), batch_size=4, seed=0, num_workers=num_workers, start_iteration=start_iteration
        )

    def step(engine, batch):
        seen.update(batch.numpy().tobytes())

    trainer = Engine(step)
    if seconds_of is not None:
        AutoWorkers(
            make_loader,
            iterations=100_000,
            on_decision=lambda *answer: answers.append(answer),
            clock=clock,
            **options,
        ).attach(trainer)
        # Between the two readings of the clock around a fetch.
        trainer.add_event_handler(Events.GET_BATCH_STARTED, lambda: clock.spend(seconds_of(workers_now[0])))
    trainer.run(make_loader(num_workers=0), max_iters=iterations, epoch_length=16)
    return seen.hexdigest(), answers


def test_workers_are_taken_where_they_help_and_no_batch_is_other_for_it():
    undisturbed, _ = train(100)
    tuned, answers = train(100, seconds_of=lambda workers: 0.1 / (1 + workers), window_s=0.5, max_workers=2)
    assert tuned == undisturbed
    assert answers == [(2, "3.00 to 3.00 times as fast as without workers")]


def test_none_are_started_where_data_takes_no_time(monkeypatch):
    monkeypatch.setattr("torch.utils.data.dataloader._MultiProcessingDataLoaderIter", None)
    clock, answers = Clock(), []
    trainer = Engine(lambda engine, batch: clock.spend(0.05))
    make_loader = partial(endless_loader, Noisy(), batch_size=4, seed=0)
    AutoWorkers(
        make_loader,
        iterations=100_000,
        window_s=0.2,
        on_decision=lambda *answer: answers.append(answer),
        clock=clock,
    ).attach(trainer)
    trainer.run(make_loader(), max_iters=60, epoch_length=16)
    assert answers == [(0, "waiting for data took 0.0% of the time without workers")]


def play(seconds_of, *, iterations=10_000, max_workers=8, share=0.5, **options):
    """Run an engine whose iterations take, on its clock, what ``seconds_of(workers)`` says."""
    clock, now, tried, answers = Clock(), [0], [0], []

    def make_loader(*, num_workers, start_iteration):
        now[0] = num_workers
        tried.append(num_workers)
        return batches(start_iteration)

    def batches(start):
        while True:
            clock.spend(share * seconds_of(now[0]))
            yield start
            start += 1

    def step(engine, batch):
        assert batch == engine.state.iteration - 1
        clock.spend((1 - share) * seconds_of(now[0]))

    trainer = Engine(step)
    auto = AutoWorkers(
        make_loader,
        iterations=iterations,
        max_workers=max_workers,
        on_decision=lambda workers, reason: answers.append((workers, clock.now)),
        clock=clock,
        **options,
    ).attach(trainer)
    trainer.run(batches(0), max_iters=iterations, epoch_length=iterations)
    ((workers, decided_s),) = answers
    assert now[0] == workers
    assert not any(trainer.has_event_handler(handler) for _, handler in auto._handlers)
    return workers, tried, decided_s


def test_doubling_goes_on_while_it_gains_and_the_best_is_confirmed():
    workers, tried, _ = play(lambda workers: {0: 0.1, 1: 0.08, 2: 0.05, 4: 0.049}[workers])
    assert (workers, tried) == (2, [0, 1, 2, 4, 0, 2])


def test_a_gain_that_does_not_come_again_is_none():
    phases = [0]

    def seconds_of(workers):
        if phases[-1] != workers:
            phases.append(workers)
        return 0.05 if phases == [0, 1] else 0.1

    workers, tried, _ = play(seconds_of, max_workers=1)
    assert (workers, tried) == (0, [0, 1, 0, 1, 0])


@pytest.mark.parametrize("share", [0.0, 0.04])
def test_nothing_is_tried_where_there_is_nothing_to_gain(share):
    assert play(lambda workers: 0.1, share=share)[:2] == (0, [0])


@pytest.mark.parametrize("iterations", [500, 2_000, 1_000_000])
def test_trying_keeps_to_its_budget(iterations):
    _, _, decided_s = play(lambda workers: 0.1 / (1 + workers), iterations=iterations, window_s=1.0)
    first_look_s = 1.3
    assert decided_s <= first_look_s + min(15, 0.02 * iterations * 0.1)


def test_workers_that_cannot_be_started_end_the_search_and_not_the_run():
    def make_loader(*, num_workers, start_iteration=0):
        if num_workers:
            raise OSError("Cannot allocate memory")
        return endless_loader(Noisy(2), batch_size=4, seed=0, start_iteration=start_iteration)

    answers = []
    trainer = Engine(lambda engine, batch: None)
    auto = AutoWorkers(
        make_loader, iterations=100_000, window_s=0.05, on_decision=lambda *answer: answers.append(answer)
    )
    auto.attach(trainer)
    trainer.run(make_loader(num_workers=0), max_iters=40, epoch_length=16)
    assert answers == [(0, "1 workers could not be started: Cannot allocate memory")]
    assert trainer.state.iteration == 40
