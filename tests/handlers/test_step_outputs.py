"""What steps return is brought to the host once, for all who read it."""

import weakref

import pytest
import torch
from ignite.engine import Engine, Events

from handlers import StepMeans, StopOnNonFinite
from handlers.attached import attached_objects
from handlers.step_outputs import Numbers, StepOutputs, outputs_of


class Reader:
    def __init__(self):
        self.seen = []

    def read(self, numbers):
        rows = enumerate(numbers.rows(), numbers.first_iteration)
        self.seen += [(iteration, row, lr) for (iteration, row), lr in zip(rows, numbers.lrs, strict=True)]

    def forget(self):
        self.seen.clear()


def test_a_step_may_fill_the_same_dict_again():
    output = {}

    def step(engine, batch):
        output["loss"] = torch.tensor(float(batch))
        return output

    trainer, reader = Engine(step), Reader()
    outputs = outputs_of(trainer, reader)
    trainer.run([1, 2, 3])
    outputs.bring()
    assert [row["loss"] for _, row, _ in reader.seen] == [1, 2, 3]


def test_a_count_is_not_rounded_to_the_precision_of_the_loss():
    output = {"loss": torch.tensor(0.5, dtype=torch.bfloat16), "pixels": torch.tensor(2**24 + 1)}
    assert Numbers([output, output]).columns() == {"loss": [0.5, 0.5], "pixels": [2**24 + 1] * 2}


def test_all_who_read_share_one():
    trainer = Engine(lambda engine, batch: {"loss": torch.tensor(1.0)})
    StepMeans().attach(trainer)
    StopOnNonFinite().attach(trainer)
    assert len([thing for thing in attached_objects(trainer) if isinstance(thing, StepOutputs)]) == 1


@pytest.mark.parametrize(
    "outputs",
    [
        [{"loss": torch.tensor(0.5), "n": torch.tensor(3)}] * 2,
        [{"loss": torch.tensor(0.5), "n": torch.tensor([3])}] * 2,
        [{"loss": 0.5, "n": 3}, {"n": 3, "loss": torch.tensor(0.5)}],
        [{"loss": torch.tensor(0.5), "n": torch.tensor(3.0), "image": torch.zeros(2, 2)}] * 2,
    ],
)
def test_numbers_are_the_same_however_they_come(outputs):
    numbers = Numbers(outputs)
    assert numbers.rows() == [{"loss": 0.5, "n": 3}] * 2
    assert numbers.columns() == {"loss": [0.5, 0.5], "n": [3, 3]}


@pytest.mark.parametrize(
    "output",
    [
        lambda number, image: {"loss": number, "y_pred": image},
        lambda number, image: {"loss": number} if number < 2 else {"loss": number, "y_pred": image},
        lambda number, image: (number, image),
        lambda number, image: image,
    ],
)
def test_what_is_no_number_is_not_kept(output):
    images = []

    def step(engine, batch):
        image = torch.zeros(batch, 1000)
        images.append(weakref.ref(image))
        return output(torch.tensor(float(engine.state.iteration)), image)

    trainer, reader = Engine(step), Reader()
    outputs = StepOutputs().attach(trainer)
    outputs.readers.append(reader)
    trainer.run([2] * 4)
    assert [image() for image in images[:-1]] == [None] * 3  # the engine's state has the last
    outputs.bring()
    assert len(reader.seen) == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_numbers_of_several_devices_come_together():
    output = {"loss": torch.tensor(0.5, device="cuda"), "temperature": torch.tensor(2.0)}
    assert Numbers([output] * 2).columns() == {"loss": [0.5, 0.5], "temperature": [2.0, 2.0]}


@pytest.mark.parametrize("lr", [1.0, torch.tensor(1.0)], ids=["number", "tensor"])
def test_each_row_has_its_iteration_and_the_rate_that_its_step_had(lr):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)

    def step(engine, batch):
        optimizer.param_groups[0]["lr"] /= 2  # as a schedule does after its step
        return {"loss": torch.tensor(float(batch))}

    trainer, reader = Engine(step), Reader()
    outputs = StepOutputs().attach(trainer)
    outputs.readers.append(reader)
    outputs.optimizer = optimizer
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=2), outputs.bring)
    trainer.run([1, 2, 3])
    outputs.bring()
    assert reader.seen == [(1, {"loss": 1.0}, 1.0), (2, {"loss": 2.0}, 0.5), (3, {"loss": 3.0}, 0.25)]


def test_a_run_that_begins_anew_is_not_mixed_with_the_last():
    trainer, reader = Engine(lambda engine, batch: {"loss": torch.tensor(float(batch))}), Reader()
    outputs = StepOutputs().attach(trainer)
    outputs.readers.append(reader)
    trainer.run([1, 2, 3], max_epochs=1)
    trainer.run([4], max_epochs=1)
    outputs.bring()
    assert [(iteration, row["loss"]) for iteration, row, _ in reader.seen] == [(1, 4.0)]
