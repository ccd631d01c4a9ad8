import json

import numpy as np
import pytest

from handlers.block_sums import BlockSums


@pytest.mark.parametrize("chunk", [1, 3, 256])
@pytest.mark.parametrize("count", [1, 511, 512, 513, 5000])
def test_blocks_hold_consecutive_rows_of_equal_number(count, chunk):
    rows = np.random.default_rng(0).random((count, 2))
    blocks = BlockSums(2)
    for first in range(0, count, chunk):
        blocks.add(rows[first : first + chunk])
    sums, size = blocks.sums(), blocks.size
    assert len(sums) == count // size
    assert len(sums) >= min(count, 256)
    whole = rows[: len(sums) * size].reshape(len(sums), size, 2)
    assert sums == pytest.approx(whole.sum(1))


def test_a_checkpoint_goes_on_inside_a_block():
    rows = np.random.default_rng(0).random((1500, 3))
    whole, first, resumed = BlockSums(3), BlockSums(3), BlockSums(3)
    whole.add(rows)
    first.add(rows[:1031])
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    resumed.add(rows[1031:])
    assert resumed.size == whole.size
    assert resumed.sums() == pytest.approx(whole.sums())


def test_an_odd_number_of_blocks_is_refused():
    with pytest.raises(ValueError, match="most must be even, got 3"):
        BlockSums(1, most=3)
