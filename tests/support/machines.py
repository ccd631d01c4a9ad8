"""A machine whose cores are shared, and a garbage collector that collects when it is told to."""

import gc
import os

from handlers.cpu_times import CpuReader


class Machine:
    """The files of a machine with two cores, whose counts grow when something happens on it."""

    def __init__(self, *, throttling=None):
        self.counts = dict.fromkeys(("ran", "waited", "rest", "workers", "others", "stolen", "held"), 0.0)
        self.throttling = throttling
        self.cores = {0}

    def spend(self, **seconds):
        for name, value in seconds.items():
            self.counts[name] += value

    def read(self, path):
        counts, pid = self.counts, os.getpid()
        groups = {"v1": "4:cpu,cpuacct:/jobs/7\n3:memory:/", "v2": "0::/jobs/7\n", None: "0::/\n"}
        # In hundredths of a second, and those of the workers half in children that have ended.
        own, worker = round(100 * (counts["ran"] + counts["rest"])), round(50 * counts["workers"])
        busy, stolen = own + 2 * worker + round(100 * counts["others"]), round(100 * counts["stolen"])
        before = "R" + " 0" * 10
        files = {
            f"/proc/{pid}/stat": f"{pid} (a (b) c) {before} {own} 0 0 0 9",
            "/proc/77/stat": f"77 (worker) {before} {worker} 0 0 {worker} 9",
            f"/proc/{pid}/cgroup": groups[self.throttling],
            "/proc/stat": f"cpu 0 0 0 0 0 0 0 0\ncpu0 {busy} 0 0 5 9 0 0 {stolen} 3 0\n"
            "cpu1 99999999 0 0 0 0 0 0 99999 0 0\nintr 5\n",
        }
        if self.throttling == "v1":
            held = round(counts["held"] * 1e9)
            files["/sys/fs/cgroup/cpu/jobs/7/cpu.stat"] = f"nr_periods 9\nthrottled_time {held}\n"
        elif self.throttling == "v2":
            held = round(counts["held"] * 1e6)
            files["/sys/fs/cgroup/jobs/cpu.stat"] = f"usage_usec 9\nthrottled_usec {held}\n"
        if path.endswith("/schedstat"):
            return f"{counts['ran'] * 1e9:.0f} {counts['waited'] * 1e9:.0f} 12\n"
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    def reader(self):
        # What has been counted before the run began belongs to nobody.
        return CpuReader(read=self.read, children=lambda pid: [77, 78], cores=self.cores)


class Collector:
    """A garbage collector that collects when it is told to, and takes as long."""

    def __init__(self, clock):
        self.clock = clock

    def collect(self, seconds, *, generation=2, freed=0):
        for callback in gc.callbacks:
            callback("start", {"generation": generation, "collected": 0, "uncollectable": 0})
        self.clock.spend(seconds)
        for callback in gc.callbacks:
            callback("stop", {"generation": generation, "collected": freed, "uncollectable": 0})
