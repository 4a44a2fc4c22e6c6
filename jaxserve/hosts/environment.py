"""Which hosts does the platform say that there are? Reads variables that are set, and nothing else.

LeaderWorkerSet and TPU pods tell every process of a group who the others are.
"""

from __future__ import annotations

from collections.abc import Mapping


def hosts_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The values of the config's table `hosts`; none of them where there is one host only."""
    return _leader_worker_set(environ) or _tpu_pod(environ)


def _leader_worker_set(environ: Mapping[str, str]) -> dict[str, str]:
    names = {
        "coordinator": "LWS_LEADER_ADDRESS",
        "num_hosts": "LWS_GROUP_SIZE",
        "host_index": "LWS_WORKER_INDEX",
    }
    found = {key: environ[name] for key, name in names.items() if environ.get(name)}
    return found if len(found) == len(names) and found["num_hosts"] != "1" else {}


def _tpu_pod(environ: Mapping[str, str]) -> dict[str, str]:
    names = [name for name in environ.get("TPU_WORKER_HOSTNAMES", "").split(",") if name]
    index = environ.get("TPU_WORKER_ID")
    if len(names) < 2 or not index:
        return {}
    return {"coordinator": names[0], "num_hosts": str(len(names)), "host_index": index}
