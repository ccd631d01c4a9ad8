"""What look writes of a folder, read back."""

import json

from ignite_pipeline.look.__main__ import main


def looked_at(root, *options):
    """Return look.json; the picture is beside it."""
    output = root.parent / "looked"
    main(["--data-root", str(root), "--output", str(output), *options])
    return json.loads((output / "look.json").read_text())


def files_of(groups, **flags):
    return [set(one["files"]) for one in groups if all(one[name] == flags[name] for name in flags)]
