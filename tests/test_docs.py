"""The manual is true: its code runs, its links lead somewhere, it is short, and it has every option.

With ``UPDATE_DOCS=1`` the tables of docs/options.md and docs/tools.md are written anew.
"""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ignite_pipeline.run.outcome import say_how_it_went
from tests.support.option_tables import options_of, parsers, tables, words_of

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OPTIONS = [ROOT / "docs" / "options.md", ROOT / "docs" / "tools.md"]
BLOCK = re.compile(r"(<!-- file -->\n)?^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"\bscripts/(\w+)\.py\b(.*)")
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def ids(path: Path) -> str:
    return path.name


def blocks(page: Path) -> list[tuple[str, bool]]:
    """Return the Python of a page, and whether it is a file to be saved, which another test runs."""
    return [(code, bool(file)) for file, code in BLOCK.findall(page.read_text())]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=ids)
def test_every_python_block_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["recipe.py", "--num-workers", "0", "--visdom", "off"])
    namespace: dict[str, object] = {"__name__": "__main__"}
    for number, (code, is_file) in enumerate(blocks(page), 1):
        compiled = compile(code, f"{page.name}, block {number}", "exec")
        if not is_file:
            exec(compiled, namespace)


def test_the_recipe_of_the_readme_trains(tmp_path, monkeypatch):
    (code, _), *others = blocks(README)
    assert not others
    (tmp_path / "line.py").write_text(code)
    command = [sys.executable, "line.py", "--num-workers", "0", "--visdom", "off", "--output", "line"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    summary = json.loads((tmp_path / "line" / "summary.json").read_text())
    assert summary["status"] == "completed"


def test_a_name_that_a_page_imports_is_used_by_it():
    for page in PAGES:
        trees = [ast.parse(code) for code, _ in blocks(page)]
        names = {
            (alias.asname or alias.name).split(".")[0]
            for tree in trees
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        used = {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert names <= used, page


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", page.read_text()))
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_links_every_page():
    text = README.read_text()
    assert [page.name for page in PAGES[1:] if f"({page.relative_to(ROOT)})" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_no_page_is_long(page):
    lines = page.read_text().count("\n")
    assert lines <= 150 if page == README else lines < 200


def test_the_tables_of_options_are_those_of_the_parsers():
    found, shown = tables(), []
    for path in OPTIONS:
        page = path.read_text()
        shown += re.findall(r"<!-- options of ([\w ]+) -->", page)

        def written(match: re.Match[str]) -> str:
            return f"<!-- options of {match[1]} -->\n\n{found[match[1]]}\n<!-- end -->"

        page = re.sub(r"<!-- options of ([\w ]+) -->\n.*?<!-- end -->", written, page, flags=re.DOTALL)
        if os.environ.get("UPDATE_DOCS"):
            path.write_text(page)
        assert path.read_text() == page
    assert sorted(shown) == sorted(found)


def test_every_script_has_its_options_in_the_tables():
    assert parsers().keys() == {path.stem for path in (ROOT / "scripts").glob("*.py")}
    pages = "".join(path.read_text() for path in OPTIONS)
    for parser in parsers().values():
        for action in options_of(parser):
            assert f"`{action.option_strings[-1]}" in pages


@pytest.mark.parametrize("name", parsers())
def test_help_says_what_every_option_does(name):
    assert [action.option_strings for action in options_of(parsers()[name]) if not words_of(action)] == []


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """Return the scripts that the blocks of a page call, each with its arguments."""
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
    found = COMMAND.findall(shell.replace("\\\n", " "))
    return [(name, shlex.split(words, comments=True)) for name, words in found]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=ids)
def test_every_command_has_options_that_its_script_knows(page):
    known = parsers()
    for name, words in commands(page):
        _, unknown = known[name].parse_known_args(words)  # ends with status 2 where a value is not allowed
        assert not unknown or name == "profile_data", words  # whose other options are the recipe's


def test_the_last_line_of_a_run_reads_as_in_the_readme(tmp_path, monkeypatch, capsys):
    (line,) = re.findall(r"^312 iterations in .*$", README.read_text(), re.MULTILINE)
    diagnosis = "handler-bound: draw (my_recipe.py:12), 31 %"
    timing = {"wall_s": 8.1, "diagnosis": diagnosis, "findings": [{"kind": "handler-bound", "advice": None}]}
    summary = {"iterations": 312, "images_per_s": 2474.3, "best": None, "timing": timing}
    monkeypatch.chdir(tmp_path)
    directory = Path("runs", "…")
    directory.mkdir(parents=True)
    (directory / "summary.json").write_text(json.dumps(summary))
    say_how_it_went(directory)
    assert capsys.readouterr().out == f"{line}\n"


@pytest.mark.parametrize(
    ("target", "calls"),
    [
        ("cifar2", ["scripts/run_cifar2.py --epochs 5 --seed 1"]),
        ("lint", ["ruff check .", "ruff format --check .", "/mypy\n"]),
        ("test", ["ruff check .", "/mypy\n", "/pytest ", "--epochs 5 --seed 1"]),
    ],
)
def test_make_calls_what_the_readme_says(target, calls):
    command = ["make", "--dry-run", "--always-make", target, "ARGS=--epochs 5 --seed 1"]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for call in ["-m venv .venv", *calls]:
        assert call in shown


def test_make_help_names_every_target():
    makefile = (ROOT / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert sorted(line.split()[0] for line in shown.splitlines()) == sorted(targets.split())
