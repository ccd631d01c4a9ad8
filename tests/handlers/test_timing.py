import pytest
from ignite.engine import Engine, Events

from handlers import EvaluateEachEpoch, FetchComputeTimer
from tests.support.clocks import Clock


class Loader:
    """Batches that take a second each to fetch, the first of an iterator ten."""

    def __init__(self, clock, length=4):
        self.clock, self.length = clock, length

    def __len__(self):
        return self.length

    def __iter__(self):
        self.clock.spend(9)
        return self

    def __next__(self):
        self.clock.spend(1)
        return 0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def trainer(clock):
    return Engine(lambda engine, batch: clock.spend(5))


def test_every_part_is_charged_what_it_took(clock, trainer):
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    for event, seconds in [
        (Events.GET_BATCH_STARTED, 0.5),
        (Events.GET_BATCH_COMPLETED, 0.25),
        (Events.ITERATION_STARTED, 0.125),
        (Events.ITERATION_COMPLETED, 2),
        (Events.EPOCH_COMPLETED, 3),
    ]:
        trainer.add_event_handler(event, lambda engine, s=seconds: clock.spend(s))
    evaluator = Engine(lambda engine, batch: clock.spend(7))
    timer.watch(evaluator, trainer)
    EvaluateEachEpoch(evaluator, [0, 0]).attach(trainer)
    trainer.run(Loader(clock), max_epochs=2, epoch_length=4)
    assert timer.seconds == {
        "fetch": 7,
        "transfer": 0,
        "others": 0,
        "checkpoint": 0,
        "compute": 8 * 5,
        "handlers": 8 * (0.25 + 0.125 + 2) + 7 * 0.5 + 2 * 3,
        "evaluate": 2 * 2 * 7,
        # The iterator, what else waits for the first fetch, and that fetch.
        "first_batch": 9 + 0.5 + 1,
    }
    assert timer.summary()["wall_s"] == clock.now
    assert timer.iterations == 8


def test_what_runs_at_the_end_of_an_epoch_counts_to_the_next(clock, trainer):
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    published = []

    @trainer.on(Events.EPOCH_COMPLETED)
    def save():
        published.append(trainer.state.metrics["time/checkpoint_s"])
        with timer.part("checkpoint"):
            clock.spend(3)

    trainer.run([0, 0], max_epochs=3)
    assert published == [0, 3, 3]
    assert timer.seconds["checkpoint"] == 9


def test_a_handler_attached_before_the_run_but_after_the_timer_is_not_the_step(clock, trainer):
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: clock.spend(100))
    trainer.run([0, 0])
    assert timer.seconds["compute"] == 10


def test_each_epochs_share_is_published_with_its_evaluation(clock, trainer):
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    evaluator = Engine(lambda engine, batch: clock.spend(engine.state.iteration))
    timer.watch(evaluator, trainer)
    EvaluateEachEpoch(evaluator, [0]).attach(trainer)
    published = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: published.append(dict(trainer.state.metrics)))
    trainer.run(Loader(clock), max_epochs=2, epoch_length=4)
    assert [p["time/compute_s"] for p in published] == [20, 20]
    assert [p["time/evaluate_s"] for p in published] == [1, 1]
    assert [p["time/first_batch_s"] for p in published] == [10, 0]
    assert [p["time/fetch_s"] for p in published] == [3, 4]


def test_a_resumed_timer_goes_on_inside_the_epoch(clock, trainer):
    first = FetchComputeTimer(clock=clock).attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=6), lambda: trainer.terminate())
    trainer.run(Loader(clock), max_epochs=2, epoch_length=4)
    resumed = Engine(lambda engine, batch: clock.spend(5))
    resumed.load_state_dict(trainer.state_dict())
    second = FetchComputeTimer(clock=clock).attach(resumed)
    second.load_state_dict(first.state_dict())
    resumed.run(Loader(clock), max_epochs=2)
    assert resumed.state.metrics["time/compute_s"] == 20
    assert second.seconds["compute"] == 40
    assert second.seconds["first_batch"] == 20


def test_a_second_run_of_the_engine_is_counted_once(clock, trainer):
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    for _ in range(2):
        trainer.run([0, 0])
    assert timer.seconds["compute"] == 20


def test_parts_of_the_step_and_of_handlers_are_told_apart(clock):
    timer = FetchComputeTimer(clock=clock)
    move = timer.timed("transfer", lambda: clock.spend(2))

    def step(engine, batch):
        clock.spend(3)
        move()
        clock.spend(4)

    def save():
        clock.spend(0.25)
        with timer.part("checkpoint"):
            clock.spend(8)
        clock.spend(0.5)

    trainer = Engine(step)
    timer.attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, save)
    trainer.run([0, 0])
    assert timer.seconds == {
        **dict.fromkeys(timer.seconds, 0),
        "transfer": 4,
        "compute": 14,
        "handlers": 1.5,
        "checkpoint": 16,
    }


def test_a_part_that_fails_is_charged_all_the_same(clock, trainer):
    timer = FetchComputeTimer(clock=clock).attach(trainer)

    def fail():
        clock.spend(3)
        raise RuntimeError

    trainer.add_event_handler(Events.COMPLETED, timer.timed("checkpoint", fail))
    with pytest.raises(RuntimeError):
        trainer.run([0])
    assert timer.seconds["checkpoint"] == 3


def test_what_is_timed_before_a_run_is_no_part_of_it(clock, trainer):
    clock.spend(1000)
    timer = FetchComputeTimer(clock=clock)
    with timer.part("transfer"):
        clock.spend(5)
    timer.attach(trainer)
    trainer.run([0])
    assert timer.seconds["transfer"] == 0
    assert sum(timer.seconds.values()) < 100


def test_a_short_run_has_no_verdict(clock, trainer):
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    trainer.run([0] * 20)  # of which the first does not count
    assert timer.findings()[0].kind == "too few iterations to say"
    trainer.run([0] * 3)
    assert timer.findings()[0].kind == "compute-bound"
