"""What only the runner knows: precision, idle warm-up, the count of compilations."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxserve.engine.runner as runner_module
from jaxserve.engine.program_facts import process_facts
from jaxserve.engine.programs import Programs
from jaxserve.engine.runner import Runner
from jaxserve.engine.sizes import EngineSizes
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.loading import load_model
from jaxserve.sharding.mesh import make_mesh
from tests.engine.driver import LIMITS, Driver, make_request
from tests.tiny_models import write_tiny_llama

SMALL = EngineSizes(page_size=4, num_pages=64, max_batch_size=2, token_budget=16, max_model_len=128)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("llama"))


def make_runner(folder: Path, dtype: str) -> Runner:
    mesh, kind = make_mesh(tensor_parallel=1), jnp.dtype(dtype)
    model = load_model(folder, dtype=kind, mesh=mesh)
    return Runner(
        model, attention=XlaAttention(), mesh=mesh, sizes=SMALL, limits=LIMITS, dtype=kind
    )


def test_bfloat16_is_close_to_float32(folder: Path) -> None:
    answers = []
    for dtype in ("float32", "bfloat16"):
        runner = make_runner(folder, dtype)
        runner.warm_up()
        driver = Driver(runner, max_batch_size=2, token_budget=16)
        answers.append(driver.run(make_request("r", [3, 1, 4, 1, 5], max_tokens=4))[0])
        runner.close()
    exact, rounded = answers
    assert len(rounded.token_ids) == len(exact.token_ids)
    np.testing.assert_allclose(rounded.logprobs[0], exact.logprobs[0], atol=0.2)
    assert rounded.logprobs != exact.logprobs


def test_greedy_programs_answer_as_those_that_do_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    for apart in (False, True):
        monkeypatch.setattr(runner_module, "_conditions_wait", lambda _, apart=apart: apart)
        runner = make_runner(folder, "float32")
        runner.warm_up()
        assert bool(runner.buckets.greedy) == apart
        driver = Driver(runner, max_batch_size=2, token_budget=16)
        requests = [
            make_request("greedy", [3, 1, 4, 1, 5], max_tokens=12, logprobs=None),
            make_request("drawn", [2, 7], max_tokens=5, temperature=1.0, logprobs=None),
        ]
        answers.append([each.token_ids for each in driver.run(*requests)])
        runner.close()
    assert answers[0] == answers[1]


def test_a_compilation_after_ready_is_counted(folder: Path) -> None:
    runner = make_runner(folder, "float32")
    told: list[str] = []
    runner.warm_up(on_compiled=lambda name, seconds: told.append(name))
    assert len(told) == runner.num_programs
    assert runner.num_compiled_after_ready == 0
    jax.jit(lambda x: x * 3 + 1)(jnp.ones(7)).block_until_ready()
    counted = runner.num_compiled_after_ready
    assert counted > 0
    runner.close()
    jax.jit(lambda x: x * 5 + 1)(jnp.ones(7)).block_until_ready()
    assert runner.num_compiled_after_ready == counted


def test_kept_programs_answer_as_those_that_were_compiled(folder: Path, tmp_path: Path) -> None:
    mesh, float32 = make_mesh(tensor_parallel=2), jnp.dtype("float32")
    answers = []
    for start in range(2):
        model = load_model(folder, dtype=float32, mesh=mesh)
        runner = Runner(
            model, attention=XlaAttention(), mesh=mesh, sizes=SMALL, limits=LIMITS, dtype=float32
        )
        programs = Programs(tmp_path, devices=list(mesh.devices.flat), facts=process_facts(mesh))
        runner.warm_up(programs=programs)
        assert [origin.found for origin in programs.origins] == [start == 1] * runner.num_programs
        driver = Driver(runner, max_batch_size=2, token_budget=16)
        request = make_request("r", [3, 1, 4, 1, 5], max_tokens=4, prompt_logprobs=1, min_tokens=2)
        answers.append(driver.run(request))
        assert runner.num_compiled_after_ready == 0
        runner.close()
    assert answers[0] == answers[1]


def test_a_request_with_broken_logits_ends_alone(tmp_path: Path) -> None:
    """Token 50's embedding is NaN: whoever has it in the prompt gets an error, nobody else."""
    import safetensors.numpy

    folder = write_tiny_llama(tmp_path / "llama")
    path = folder / "model.safetensors"
    weights = safetensors.numpy.load_file(path)
    weights["model.embed_tokens.weight"][50] = np.nan
    safetensors.numpy.save_file(weights, path)
    runner = make_runner(folder, "float32")
    runner.warm_up()
    driver = Driver(runner, max_batch_size=2, token_budget=16)
    bias = ((50, -100.0),)
    alone = driver.run(make_request("a", [1, 2, 3], logit_bias=bias))[0]
    good, bad = driver.run(
        make_request("b", [1, 2, 3], logit_bias=bias), make_request("c", [1, 50, 3])
    )
    after = driver.run(make_request("d", [1, 2, 3], logit_bias=bias))[0]
    runner.close()
    assert bad.finish_reason == "error"
    assert bad.error and "not finite" in bad.error
    assert alone.token_ids == good.token_ids == after.token_ids
