"""What LeaderWorkerSet and TPU pods say of the hosts is read; our own variables win."""

from __future__ import annotations

import pytest

from jaxserve.config import HostsConfig, load_config
from jaxserve.hosts.environment import hosts_of

LWS = {"LWS_LEADER_ADDRESS": "lead.svc", "LWS_GROUP_SIZE": "4", "LWS_WORKER_INDEX": "2"}
POD = {"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "1"}


def test_a_leader_worker_set_names_its_leader_its_size_and_the_index() -> None:
    expected = HostsConfig(coordinator="lead.svc", num_hosts=4, host_index=2)
    assert load_config(None, LWS).hosts == expected


def test_the_first_host_of_a_tpu_pod_is_its_coordinator() -> None:
    expected = HostsConfig(coordinator="a", num_hosts=2, host_index=1)
    assert load_config(None, POD).hosts == expected


def test_our_own_variables_win() -> None:
    config = load_config(None, {**POD, "JAXSERVE_COORDINATOR": "b:9000", "JAXSERVE_NUM_HOSTS": "3"})
    assert config.hosts == HostsConfig(coordinator="b:9000", num_hosts=3, host_index=1)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {**LWS, "LWS_GROUP_SIZE": "1"},
        {"LWS_GROUP_SIZE": "4", "LWS_WORKER_INDEX": "2"},
        {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"},
        {"TPU_WORKER_HOSTNAMES": "a,b"},
    ],
)
def test_one_host_alone_is_no_group(environ: dict[str, str]) -> None:
    assert hosts_of(environ) == {}
