"""Where the processes of one attempt meet: a store that has nothing in it from the attempts before."""

import os
import secrets
import time
from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # public by its docs

_LOOK_S = 0.02


def meet(*, rank: int, count: int, timeout: timedelta) -> Any:
    """Return the store of this attempt, once all ``count`` processes have it.

    ``torchrun`` keeps one store for all attempts, and torch itself takes addresses from it that processes had
    which are dead by now (pytorch #135712). The number of restarts does not tell attempts apart either: each
    machine counts its own. So the first process gives every attempt a name, and tells it to each of the
    others under a name that this one has just made up. ``TimeoutError`` is raised if one does not come.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    hosts = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = TCPStore(
        address, port, is_master=hosts, timeout=timeout, wait_for_workers=False, multi_tenant=True
    )
    attempt, name = secrets.token_hex(8), secrets.token_hex(8)
    limit_s = time.monotonic() + timeout.total_seconds()
    missing = set(range(1, count))
    if rank != 0:
        store.set(f"here/{rank}", name)
        store.wait([f"attempt/{name}"], timeout)
        attempt = store.get(f"attempt/{name}").decode()
        store.set(f"joined/{attempt}/{rank}", "")
        return PrefixStore(attempt, store)
    while missing:
        if time.monotonic() > limit_s:
            raise TimeoutError(f"process {min(missing)} did not come within {timeout.total_seconds():.0f} s")
        for other in missing:  # those of an attempt before are told, too, and do no harm
            if store.check([f"here/{other}"]):
                store.set(f"attempt/{store.get(f'here/{other}').decode()}", attempt)
        missing = {other for other in missing if not store.check([f"joined/{attempt}/{other}"])}
        time.sleep(_LOOK_S)
    return PrefixStore(attempt, store)
