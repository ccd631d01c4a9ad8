"""A prediction, in one row whatever is in a name."""

import csv
import io
from pathlib import Path

import pytest

from ignite_pipeline.data.preprocessing import Preprocessing
from ignite_pipeline.predict.rows import Prediction, as_csv_line, as_line, csv_header
from ignite_pipeline.signature import Signature


@pytest.mark.parametrize("name", ["two\nlines", "two\rlines", "a\ttab", 'a "quote", a comma'])
def test_whatever_is_in_a_name_a_prediction_is_one_row(name):
    prediction = Prediction(
        Path(f"{name}.png"),
        Signature("classes", Preprocessing(8, 8, (0.5,) * 3, (0.2,) * 3), (name, "b")),
        [0.75, 0.25],
    )
    table = "".join(f"{line}\n" for line in (csv_header(prediction.signature), as_csv_line(prediction)))
    (row,) = csv.DictReader(io.StringIO(table, newline=""))
    assert (row["file"], row["class"], row[name]) == (f"{name}.png", name, "0.75")
    line = as_line(prediction)
    assert len(line.splitlines()) == 1
    assert line.count("\t") == 2
