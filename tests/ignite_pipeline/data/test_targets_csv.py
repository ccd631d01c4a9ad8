"""Targets from a table: what its columns are taken for, and what is wrong with it, in a line."""

import pytest
import torch
from PIL import Image

from ignite_pipeline.data.image_folder import image_folder
from ignite_pipeline.data.targets_csv import read_targets
from ignite_pipeline.errors import BadInput


@pytest.fixture
def root(tmp_path):
    for name in ("a", "b", "c", "d"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    return tmp_path


def write(root, *lines):
    path = root / "targets.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")  # as spreadsheets write it
    return path


@pytest.mark.parametrize(
    ("lines", "kind", "classes", "targets"),
    [
        (["file,kind", "a.png,dog", "b.png,cat", "c.png,dog"], "classes", ("cat", "dog"), [1, 0, 1]),
        (["kind,file", "10,a.png", "9,b.png", "10,c.png"], "classes", ("9", "10"), [1, 0, 1]),
        (
            ["file,labels", "a.png,sky|sea", "b.png,", "c.png,sea"],
            "labels",
            ("sea", "sky"),
            [[1, 1], [0, 0], [1, 0]],
        ),
        (["file,sky,sea", "a.png,1,0", "b.png,0,0"], "labels", ("sky", "sea"), [[1, 0], [0, 0]]),
        (["file,age", "a.png,1.5", "b.png,-2"], "numbers", ("age",), [[1.5], [-2]]),
        (["file,sky,sea", "a.png,1.0,0.0", "b.png,0.0,0.0"], "labels", ("sky", "sea"), [[1, 0], [0, 0]]),
        (["file,kind", "a.png,0", "b.png,x", "c.png,0"], "classes", ("x", "0"), [1, 0, 1]),
        (["image,x,y", "a.png,3,1e2", "b.png,0,7"], "numbers", ("x", "y"), [[3, 100], [0, 7]]),
    ],
)
def test_columns_tell_what_they_hold(root, lines, kind, classes, targets):
    files, val, _ = read_targets(write(root, *lines), root)
    assert val is None
    assert (files.kind, files.classes) == (kind, classes)
    assert files.targets.tolist() == targets
    assert files.targets.dtype == (torch.int64 if kind == "classes" else torch.float32)


def test_whole_numbers_are_numbers_where_that_is_said(root):
    table = write(root, "file,age", "a.png,31", "b.png,4")
    assert read_targets(table, root)[0].kind == "classes"
    files, *_ = read_targets(table, root, kind="numbers")
    assert files.targets.tolist() == [[31], [4]]


@pytest.mark.parametrize(
    ("words", "val"),
    [
        (("train", "val", "train", "validation"), ["b.png", "d.png"]),
        (("train", "test", "train", "TEST"), ["b.png", "d.png"]),
        (("train", "val", "train", "test"), ["b.png"]),
    ],
)
def test_a_column_may_say_which_are_for_validation(root, capsys, words, val):
    rows = [f"{name}.png,{kind},{word}" for name, kind, word in zip("abcd", "xyyx", words, strict=True)]
    data = image_folder(root, targets=write(root, "file,kind,split", *rows), image_size=8)
    assert list(data.train.files.names) == ["a.png", "c.png"]
    assert list(data.val.files.names) == val
    assert data.classes == ("x", "y")
    assert ("rows of test are left out (1): those of val" in capsys.readouterr().err) is (len(val) == 1)


def test_names_that_python_takes_for_numbers_are_names(root):
    table = write(root, "file,kind,split", "a.png,1_1,train", "b.png,1_2,train", "c.png,1_1,val")
    assert image_folder(root, targets=table, image_size=8).classes == ("1_1", "1_2")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], ": needs a first line"),
        (["file,kind"], ": has no row below its first line"),
        (["file", "a.png"], ": needs a first line"),
        (["file;kind", "a.png;x"], ": has semicolons between its columns; save it with commas"),
        (["file\tkind", "a.png\tx"], ": has tabs between its columns; save it with commas"),
        ([",file,size", "0,a.png,1.5"], ": column 1 has no name; name it or, if pandas has written it,"),
        (["file,kind,", "a.png,x,", "b.png,y,"], ": column 3 has no name; name it"),
        (["file,kind,kind", "a.png,x,y"], ": two columns are called kind"),
        (["a.png,x", "b.png,y"], ": its first line must name the columns, such as file,kind; it has a.png"),
        (["file,kind", "", "", "a.png,x", "b.png,"], ", line 5: b.png has no value in kind"),
        (["file,kind", "{root}/a.png,x", "b.png,y"], ", line 2: {root}/a.png must be a name below {root}"),
        (["file,kind", "a.png,x", "../b.png,y"], ", line 3: ../b.png must be a name below {root}"),
        (["file,kind", "a.png,x", "targets.csv,y"], ", line 3: targets.csv is no image"),
        (["file,kind", f"{'a' * 300}.png,x"], ", line 2: no file {root}/aaa"),
        (
            ["file,age", "a.png,3.5", "b.png,4.5", "c.png,NA"],
            ", line 4: age must be a number, as in others, got 'NA'",
        ),
        (["file,age", "a.png,3.5", 'b.png,"3,5"'], ", line 3: age must be a number, as in others, got '3,5'"),
        (["file,age", "a.png,x", "b.png,y", "c.png,z"], ": each of its 3 files has a class of its own"),
        (
            ["file,x,y", "a.png,1,0", "b.png,0,1", "c.png,1,1", "d.png,0,True"],
            ", line 5: y must be a number, as in others, got 'True'",
        ),
        (["file,x,y", "a.png,True,False", "b.png,False,True"], ": a class is one column"),
        (["file,age", "a.png,1.5", "b.png,1e39"], ", line 3: age must be a number, as in others, got '1e39'"),
        (["file,kind", "a.png,x", "e.png,y"], ", line 3: no file {root}/e.png"),
        (["file,kind", "a.png,x", "a.png,y"], ", line 3: names a file twice, a.png, as line 2 does"),
        (["file,kind", "a.png,x", "b.png,"], ", line 3: b.png has no value in kind"),
        (["file,kind", "a.png,x", "b.png,y,z"], ", line 3: has more values than columns"),
        (["file,kind", "a.png,x", "b.png,x"], ": needs two or more classes, has x"),
        (["file,kind,other", "a.png,x,1", "b.png,y,2"], ": a class is one column, but there are kind, other"),
        (
            ["file,kind,split", "a.png,x,train", "b.png,y,dev"],
            ", line 3: split must be train, val or test, got 'dev'",
        ),
        (["file,kind,split", "a.png,x,val", "b.png,y,val"], ": its column split leaves no image for train"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_a_line(root, lines, message):
    table = write(root, *(line.format(root=root) for line in lines))
    with pytest.raises(BadInput) as raised:
        read_targets(table, root)
    assert str(raised.value).startswith(f"{table}{message.format(root=root)}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_another_encoding_is_said(root, encoding):
    table = root / "targets.csv"
    table.write_text("file,kind\na.png,Möwe\nb.png,Spatz\n", encoding=encoding)
    with pytest.raises(BadInput, match=r"targets.csv: not in UTF-8 .*; save it as CSV UTF-8"):
        read_targets(table, root)


def test_one_that_is_no_number_does_not_make_classes_of_many_whole_ones(root):
    for number in range(9):
        Image.new("RGB", (8, 8)).save(root / f"{number}.png")
    rows = [f"{number}.png,{20 + number % 3}" for number in range(9)]
    table = write(root, "file,age", *rows, "a.png,NA")
    with pytest.raises(BadInput, match=r"line 11: age must be a number, .* got 'NA'; or say --kind classes"):
        read_targets(table, root)
    assert read_targets(table, root, kind="classes")[0].classes == ("NA", "20", "21", "22")


def test_a_class_may_be_a_number_of_any_length(root):
    long = "9" * 5000
    files, *_ = read_targets(write(root, "file,kind", f"a.png,{long}", "b.png,10", "c.png,10"), root)
    assert files.classes == ("10", long)


def test_what_a_table_is_taken_for_is_said(root, capsys):
    table = write(root, "file,kind,Split", "a.png,x,train", "b.png,y,val", "c.png,y,train")
    files, val, _ = read_targets(table, root)
    assert f"{table}: kind taken for classes" in capsys.readouterr().err
    assert (len(files), len(val)) == (2, 1)


def test_a_wrong_kind_names_the_value(root):
    table = write(root, "file,x,y", "a.png,1,2", "b.png,0,nan")
    with pytest.raises(BadInput, match=r"line 2: y must be 0 or 1, got '2'"):
        read_targets(table, root, kind="labels")
    with pytest.raises(BadInput, match=r"line 3: y must be a number, got 'nan'"):
        read_targets(table, root, kind="numbers")
    with pytest.raises(BadInput, match="kind must be auto, classes"):
        read_targets(table, root, kind="words")
