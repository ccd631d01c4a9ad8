"""What less of something would make of a run: computed from the share of the time that it takes."""

SMALL_SHARE = 0.02


def times_less_often(share: float) -> int:
    """Return to one call in how many a handler has to come down to take less than 2 % of the loop.

    ``share`` is what it takes of the loop now; each call is taken to last as long as before.

    >>> times_less_often(0.31)  # of 100 s, 69 are others', and 31 / 23 is less than 2 % of 69 + 31 / 23
    23
    """
    others = max(1 - share, 1e-6)  # one that is all there is gets a number too
    return int(share / others * (1 - SMALL_SHARE) / SMALL_SHARE) + 1


def share_of_half(share: float) -> float:
    """Return the share of a run that something takes if it takes half of its time.

    >>> share_of_half(0.5)  # 25 of 75 seconds, instead of 50 of 100
    0.3333333333333333
    """
    return share / (2 - share)


def advice_on(part: str, share: float, culprit: str | None) -> str | None:
    """Return what to do about a part of a run, and what that would give; None where nothing can be computed.

    ``share`` is that of the culprit: of the loop for handlers, of the whole run for the rest.

    >>> advice_on("handlers", 0.31, "SampleGrids.draw (samples.py:40)")
    'call SampleGrids.draw (samples.py:40) once in 23 times: it would take less than 2 % of the loop'
    >>> advice_on("evaluate", 0.5, None)
    'evaluate half as often, or half of the data: it would take 33 % of the run, which would be 25 % shorter'
    """
    if part == "handlers" and culprit is not None:
        often = times_less_often(share)
        return f"call {culprit} once in {often:,} times: it would take less than 2 % of the loop"
    shares = f"{share_of_half(share):.0%} of the run, which would be {share / 2:.0%} shorter"
    gain = f"it would take {shares}".replace("%", " %")
    if part == "evaluate":
        return f"evaluate half as often, or half of the data: {gain}"
    if part == "checkpoint":
        return f"save half as often: {gain}; or in the background, while training goes on"
    return None
