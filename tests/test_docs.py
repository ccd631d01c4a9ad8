import re
from pathlib import Path

import pytest

import run_cifar2
import run_pix2pix
from ignite_pipeline.run.options import add_run_options

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_every_python_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) >= 3
    namespace: dict[str, object] = {}
    for block in BLOCKS:
        exec(block, namespace)


PARSERS = [script.parser() for script in (run_cifar2, run_pix2pix)]
for parser in PARSERS:
    add_run_options(parser)
OPTIONS = {action.dest: action for parser in PARSERS for action in parser._actions}


@pytest.mark.parametrize("action", OPTIONS.values(), ids=OPTIONS)
def test_every_option_of_the_scripts_stands_in_a_table(action):
    if action.dest != "help":
        assert f"| `{action.option_strings[-1]}`" in README


def test_every_file_that_is_linked_is_there():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    for link in links:
        assert (Path(__file__).parent.parent / link).exists(), link
