"""What is attached to a timed engine is called when Ignite alone would call it, and in that order."""

import pytest
from ignite.engine import Engine, Events

from handlers import EverySeconds, FetchComputeTimer
from tests.support.clocks import Clock

EACH = (
    Events.GET_BATCH_STARTED,
    Events.GET_BATCH_COMPLETED,
    Events.ITERATION_STARTED,
    Events.ITERATION_COMPLETED,
)


def calls(*, timed, attach, runs=1):
    """Who is called, and at which iteration."""
    seen = []
    trainer = Engine(lambda engine, batch: None)
    if timed:
        FetchComputeTimer().attach(trainer)
    attach(trainer, seen)
    for _ in range(runs):
        try:
            trainer.run([0] * 5, max_epochs=4)
        except ZeroDivisionError:
            seen.append("raised")
    return seen


def note(seen, trainer, name):
    return lambda: seen.append((name, trainer.state.iteration))


def filters(event):
    return [
        event(every=3),
        event,
        event(every=1),
        event(once=4),
        event(before=3),
        event(after=17),
        event(every=2, after=5, before=12),
        event(event_filter=lambda engine, number: number % 7 == 1),
        event(every=5),
    ]


def attach_all(trainer, seen):
    for event in EACH:
        for place, wanted in enumerate(filters(event)):
            trainer.add_event_handler(wanted, note(seen, trainer, f"{event.name} {place}"))


def attach_periodic_alone(trainer, seen):
    for event in EACH:
        trainer.add_event_handler(event(every=4), note(seen, trainer, event.name))


def attach_and_remove(trainer, seen):
    removable = trainer.add_event_handler(Events.ITERATION_COMPLETED(every=2), note(seen, trainer, "removed"))

    @trainer.on(Events.ITERATION_COMPLETED(once=7))
    def remove():
        removable.remove()

    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=3), note(seen, trainer, "stays"))


def attach_and_remove_two_at_once(trainer, seen):
    def first():
        pass

    def second():
        pass

    for handler in (first, second):
        trainer.add_event_handler(Events.ITERATION_COMPLETED, handler)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=3), note(seen, trainer, "stays"))

    @trainer.on(Events.ITERATION_COMPLETED(once=7))
    def remove():
        for handler in (first, second) if not seen.count("removed") else ():
            trainer.remove_event_handler(handler, Events.ITERATION_COMPLETED)
        seen.append("removed")


def attach_once_it_runs(trainer, seen):
    @trainer.on(Events.ITERATION_COMPLETED(once=5))
    def add():
        trainer.add_event_handler(Events.ITERATION_COMPLETED(every=4), note(seen, trainer, "added"))


def attach_what_raises(trainer, seen):
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=2), note(seen, trainer, "before"))
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=6), lambda: 1 / 0)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=2), note(seen, trainer, "after"))


@pytest.mark.parametrize(
    "attach",
    [
        attach_all,
        attach_periodic_alone,
        attach_and_remove,
        attach_and_remove_two_at_once,
        attach_once_it_runs,
        attach_what_raises,
    ],
)
@pytest.mark.parametrize("runs", [1, 2])
def test_a_timed_engine_calls_whom_ignite_would_call(attach, runs):
    expected = calls(timed=False, attach=attach, runs=runs)
    assert calls(timed=True, attach=attach, runs=runs) == expected
    assert expected


def test_what_waits_for_seconds_is_called_when_they_are_over_and_not_asked_before():
    clock, asked, called = Clock(), [], []

    class Asked(EverySeconds):
        def __call__(self, engine, event):
            asked.append(engine.state.iteration)
            return super().__call__(engine, event)

    wait = Asked(3, clock=clock)
    trainer = Engine(lambda engine, batch: clock.spend(1))
    FetchComputeTimer(clock=clock).attach(trainer)

    @trainer.on(Events.ITERATION_COMPLETED(event_filter=wait))
    def act():
        called.append(trainer.state.iteration)
        wait.restart()

    trainer.run([0] * 10)
    assert called == asked == [3, 6, 9]


def test_a_wait_by_another_clock_is_asked_each_time():
    wait = EverySeconds(3, clock=Clock())
    trainer, called = Engine(lambda engine, batch: wait.clock.spend(1)), []
    FetchComputeTimer(clock=Clock()).attach(trainer)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(event_filter=wait), lambda: called.append(trainer.state.iteration)
    )
    trainer.run([0] * 4)
    assert called == [3, 4]
