"""What a tool's user has asked for is written there, and nothing else is lost by it."""

import os
import stat
import subprocess

import pytest

from handlers.files import write_whole
from ignite_pipeline.errors import BadInput
from ignite_pipeline.output_files import write_output


def write(path):
    write_output(path, lambda place: place.write_text("new"), option="--output")


@pytest.mark.parametrize("content", ["old", None])
def test_a_link_is_written_through(content, tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    if content is not None:
        target.write_text(content)
    link.symlink_to(target.name)
    write(link)
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.parametrize("kind", ["FIFO", "device", "link to a device", "link to itself"])
def test_what_is_no_file_stays(kind, tmp_path):
    path = node = tmp_path / "node"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "link to itself":
        path.symlink_to(path)
    else:
        if subprocess.run(["mknod", path, "c", "1", "3"], check=False, capture_output=True).returncode:
            pytest.skip("only root makes devices")
        if kind == "link to a device":
            path = tmp_path / "link"
            path.symlink_to(node)
    before = node.lstat()
    with pytest.raises(BadInput, match=f"--output {path} cannot be written: "):
        write(path)
    after = node.lstat()
    assert (after.st_ino, stat.S_IFMT(after.st_mode)) == (before.st_ino, stat.S_IFMT(before.st_mode))


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_a_folder_is_no_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=f"--output {name} cannot be written: Is a directory"):
        write(name)


def test_nothing_is_written_through_a_link_that_is_called_like_a_temporary_file(tmp_path):
    (tmp_path / "other").write_text("other")
    (tmp_path / ".file.tmp").symlink_to("other")
    write_whole(tmp_path / "file", lambda place: place.write_text("new"))
    assert (tmp_path / "other").read_text() == "other"
    assert not (tmp_path / "file").is_symlink()
