"""Operations of a trace are called by the scopes that they were traced in."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxserve.profiling import JaxProfiler
from jaxserve.trace_regions import region_of


@pytest.mark.parametrize(
    ("op_name", "region"),
    [
        ("jit(decode_4)/layer_0/attention/dot_general", "layer_0/attention"),
        (
            "jit(step)/layer_1/attention/attend/while/body/closed_call/mul",
            "layer_1/attention/attend",
        ),
        ("jit(step)/sample/cond/branch_1_fun/jit(take)/gather", "sample"),
        ("jit(step)/add", ""),
    ],
)
def test_a_region_is_its_scopes_without_control_flow(op_name: str, region: str) -> None:
    assert region_of(op_name) == region


def test_a_trace_has_the_regions_of_its_programs_and_those_before_it_stay(tmp_path: Path) -> None:
    @jax.jit
    def program(x: jax.Array) -> jax.Array:
        with jax.named_scope("layer_0"), jax.named_scope("mlp"):
            x = jnp.tanh(x @ x)
        with jax.named_scope("sample"):
            return jnp.argmax(x, -1)

    x = jnp.ones((64, 64))
    program(x).block_until_ready()
    earlier = tmp_path / "plugins" / "profile" / "earlier"
    earlier.mkdir(parents=True)
    (earlier / "host.trace.json.gz").write_bytes(b"not to be read")
    profiler = JaxProfiler(tmp_path)
    profiler.start()
    program(x).block_until_ready()
    profiler.stop()
    (path,) = tmp_path.glob("plugins/profile/2*/*.trace.json.gz")
    with gzip.open(path, "rt") as file:
        events = json.load(file)["traceEvents"]
    named = [event for event in events if "region" in event.get("args", ())]
    assert {event["args"]["region"] for event in named} >= {"layer_0/mlp", "sample"}
    for event in named:
        assert event["name"] == f"{event['args']['region']} {event['args']['hlo_op']}"
