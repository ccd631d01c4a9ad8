"""Run an evaluator inside a training run."""

from collections.abc import Iterable, Sequence
from typing import Any

from ignite.engine import Engine, Events

from handlers.training_metrics import vector_in


class EvaluateEachEpoch:
    """Run ``evaluator`` on ``loader`` after every epoch and publish its metrics as ``<prefix><name>``.

    One that is a vector, such as a recall for each class, is published number by number, as
    ``<prefix><name>/<class>``, by the names in ``classes`` or, if it is of another length, by place.

    It runs at an early end too, so that the last weights are always evaluated. Give it a loader of
    its own: evaluating the training loader would disturb the order of training.

    >>> from ignite.metrics import Average
    >>> evaluator = Engine(lambda engine, batch: batch)
    >>> Average().attach(evaluator, "mean")
    >>> trainer = Engine(lambda engine, batch: None)
    >>> _ = EvaluateEachEpoch(evaluator, [1.0, 3.0]).attach(trainer)
    >>> trainer.run([0]).metrics
    {'val/mean': 2.0}
    """

    def __init__(
        self,
        evaluator: Engine,
        loader: Iterable[Any],
        *,
        prefix: str = "val/",
        classes: Sequence[str] = (),
    ) -> None:
        if len(set(classes)) < len(classes):
            raise ValueError(f"classes must differ, got {', '.join(classes)}")
        self.evaluator, self.loader, self.prefix, self.classes = evaluator, loader, prefix, classes
        self._evaluated_at: int | None = None

    def attach(self, engine: Engine) -> "EvaluateEachEpoch":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_COMPLETED | Events.TERMINATE, self.evaluate)
        return self

    def start(self, engine: Engine) -> None:
        """Forget the run before."""
        self._evaluated_at = None

    def evaluate(self, engine: Engine) -> None:
        """Evaluate, unless these weights have just been."""
        if engine.state.iteration == self._evaluated_at:
            return
        self._evaluated_at = engine.state.iteration
        metrics = self.evaluator.run(self.loader).metrics
        for name, value in metrics.items():
            engine.state.metrics.update(self._named(f"{self.prefix}{name}", value))

    def _named(self, name: str, value: Any) -> dict[str, Any]:
        vector = vector_in(value)
        if vector is None:
            return {name: value}
        classes = self.classes if len(self.classes) == len(vector) else range(len(vector))
        return {f"{name}/{label}": number for label, number in zip(classes, vector, strict=True)}
