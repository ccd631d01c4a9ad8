"""Learning rates over a run."""

import copy
import io
import math

import pytest
import torch
from torch import nn

from ignite_pipeline.schedules import rise_and_fall, warmup_and_cosine

SCHEDULES = [
    lambda optimizer: rise_and_fall(optimizer, 40, warmup=0.3),
    lambda optimizer: warmup_and_cosine(optimizer, 40, warmup_iterations=7),
    lambda optimizer: warmup_and_cosine(optimizer, 40, warmup_iterations=0),
]


def optimizer_of_two_groups():
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    return torch.optim.SGD([{"params": weights[:1], "lr": 0.3}, {"params": weights[1:], "lr": 0.1}])


def rates(optimizer, schedule, iterations):
    """The rates of that many iterations, by group."""
    found = []
    for _ in range(iterations):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("make", SCHEDULES)
@pytest.mark.parametrize("cut", [1, 7, 12, 39, 41])
def test_a_schedule_goes_on_from_a_checkpoint_with_the_same_bits(make, cut):
    optimizer = optimizer_of_two_groups()
    whole = rates(optimizer, make(optimizer), 45)
    optimizer = optimizer_of_two_groups()
    schedule = make(optimizer)
    assert rates(optimizer, schedule, cut) == whole[:cut]
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), schedule.state_dict()], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)
    optimizer = optimizer_of_two_groups()
    schedule = make(optimizer)
    optimizer.load_state_dict(states[0])
    schedule.load_state_dict(copy.deepcopy(states[1]))
    assert rates(optimizer, schedule, 45 - cut) == whole[cut:]
    assert whole[40:] == [[0.0, 0.0]] * 5


@pytest.mark.parametrize("make", SCHEDULES)
def test_a_schedule_reaches_the_rate_of_every_group(make):
    optimizer = optimizer_of_two_groups()
    found = rates(optimizer, make(optimizer), 40)
    assert max(found) == [0.3, 0.1]
    assert all(math.isclose(rate, 3 * other) for rate, other in found)


def test_the_rates_of_a_cosine_are_those_of_torch():
    optimizer, other = optimizer_of_two_groups(), optimizer_of_two_groups()
    ours = rates(optimizer, warmup_and_cosine(optimizer, 40, warmup_iterations=0), 40)
    theirs = rates(other, torch.optim.lr_scheduler.CosineAnnealingLR(other, 40), 40)
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: rise_and_fall(o, 10, warmup=0.0), "warmup must be above 0 and below 1, got 0.0"),
        (lambda o: rise_and_fall(o, 10, warmup=1.0), "warmup must be above 0 and below 1, got 1.0"),
        (lambda o: rise_and_fall(o, 0, warmup=0.5), "iterations must be at least 1, got 0"),
        (lambda o: warmup_and_cosine(o, 10, warmup_iterations=10), "less than the 10 iterations, got 10"),
        (lambda o: warmup_and_cosine(o, 10, warmup_iterations=-1), "must be at least 0 .* got -1"),
    ],
)
def test_what_is_no_schedule_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(optimizer_of_two_groups())
