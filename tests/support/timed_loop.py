"""A loop whose batches take a millisecond and whose steps take ten, and what its timer finds first."""

EPOCHS, LENGTH = 3, 100
FETCH_S, STEP_S = 0.001, 0.010


class Loader:
    """Batches that take a millisecond each."""

    def __init__(self, clock):
        self.clock = clock

    def __len__(self):
        return LENGTH

    def __iter__(self):
        for number in range(LENGTH):
            self.clock.spend(FETCH_S)
            yield number


def run(trainer, clock, epochs=EPOCHS):
    trainer.run(Loader(clock), max_epochs=epochs)


def named(timer):
    """Return kind, culprit and its share of the first finding."""
    first = timer.findings()[0]
    return first.kind, first.culprit, float(first.words.rpartition(", ")[2].removesuffix(" %")) / 100
