"""Linux's control groups, which may allow a process less than the machine has."""

from pathlib import Path


def group_folders(cgroup: str, controller: str, *, root: str | Path = "/sys/fs/cgroup") -> list[Path]:
    """Return the folders of a process's groups, from the text of its ``/proc/PID/cgroup``.

    Those of version 2, and of version 1 that have that controller; each with all above it up to the root, for
    their limits hold the process, too.

    >>> [str(folder) for folder in group_folders("0::/a/b", "cpu")]
    ['/sys/fs/cgroup/a/b', '/sys/fs/cgroup/a', '/sys/fs/cgroup']
    """
    folders = []
    for line in cgroup.splitlines():
        number, controllers, group = line.split(":", 2)
        if number == "0":
            top = Path(root)
        elif controller in controllers.split(","):
            top = Path(root, controller)
        else:
            continue
        below = Path(group.lstrip("/"))
        folders += [top / folder for folder in (below, *below.parents)]
    return folders
