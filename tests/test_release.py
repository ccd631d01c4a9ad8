"""What would be released: both archives build from a copy, and say what they are."""

import configparser
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KEPT = ("handlers", "ignite_pipeline", "scripts", "tests", "docs")
FILES = ("LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "setup.cfg", "setup.py")
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def version():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup["metadata"]["version"]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A wheel, and the wheel that is built from the archive of the sources."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("archives")
    for name in KEPT:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source)

    def build(kind, place, folder):
        subprocess.run(
            [sys.executable, "-c", BUILD, kind, folder], cwd=place, check=True, capture_output=True
        )

    build("build_sdist", source, output)
    with tarfile.open(next(output.glob("*.tar.gz"))) as archive:
        archive.extractall(output / "unpacked", filter="data")
    build("build_wheel", source, output)
    build("build_wheel", next((output / "unpacked").iterdir()), output / "again")
    return next(output.glob("*.whl")), next((output / "again").glob("*.whl"))


def names_in(path):
    with zipfile.ZipFile(path) as wheel:
        return sorted(name for name in wheel.namelist() if ".dist-info/" not in name)


@pytest.mark.slow
def test_the_archive_of_the_sources_builds_the_same_wheel(archives):
    names = names_in(archives[0])
    assert names_in(archives[1]) == names
    assert {name.split("/")[0] for name in names} == {"handlers", "ignite_pipeline"}
    wanted = {
        str(path.relative_to(ROOT))
        for room in ("handlers", "ignite_pipeline")
        for path in ROOT.glob(f"{room}/**/*.py")
    }
    assert wanted <= set(names)
    assert {"handlers/py.typed", "ignite_pipeline/py.typed"} <= set(names)


@pytest.mark.slow
def test_the_metadata_are_complete(archives):
    with zipfile.ZipFile(archives[0]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_string(wheel.read(name).decode())
        assert any(name.endswith("/LICENSE") for name in wheel.namelist())
    assert metadata["Version"] == version()
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["Description-Content-Type"] == "text/markdown"
    for field in ("Summary", "Keywords", "Classifier"):
        assert metadata[field], field
    assert metadata.get_payload().startswith("# ignite_pipeline")


def test_the_changelog_begins_with_this_version():
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert headings[0].startswith(f"## {version()}")
