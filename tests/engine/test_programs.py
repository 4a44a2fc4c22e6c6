"""Programs are found again when nothing that they depend on has changed, and only then."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from jaxserve.engine.program_facts import process_facts
from jaxserve.engine.programs import KEPT_PER_NAME, Programs
from jaxserve.sharding.mesh import make_mesh

SHAPE = jax.ShapeDtypeStruct((3,), jnp.float32)


def programs(folder: Path | None, **facts: str) -> Programs:
    return Programs(folder, devices=jax.devices()[:1], facts=facts)


def lower() -> jax.stages.Lowered:
    return jax.jit(lambda x: x * 2 + 1, donate_argnums=0).lower(SHAPE)


def never() -> jax.stages.Lowered:
    raise AssertionError("it was kept, so nothing has to be traced")


def answer(program: jax.stages.Compiled) -> list[float]:
    return np.asarray(program(jnp.arange(3.0))).tolist()


def test_a_kept_program_is_found_and_computes_the_same(tmp_path: Path) -> None:
    first = programs(tmp_path, version="1").get("double", {"rows": "3"}, lower)
    later = programs(tmp_path, version="1")
    assert answer(later.get("double", {"rows": "3"}, never)) == answer(first) == [1, 3, 5]
    assert [origin.found for origin in later.origins] == [True]


def test_the_folder_can_be_moved(tmp_path: Path) -> None:
    programs(tmp_path / "here").get("double", {}, lower)
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert answer(programs(tmp_path / "there").get("double", {}, never)) == [1, 3, 5]


def test_a_program_that_jax_has_kept_is_kept_whole(
    tmp_path: Path,
) -> None:
    before: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    own, jax_own = tmp_path / "own", str(tmp_path / "jax")
    jax.config.update("jax_compilation_cache_dir", jax_own)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    reset_cache()
    try:
        lower().compile()
        jax.clear_caches()
        programs(own).get("double", {}, lower)
        assert jax.config.jax_compilation_cache_dir == jax_own  # type: ignore[attr-defined]
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        reset_cache()
    assert answer(programs(own).get("double", {}, never)) == [1, 3, 5]


def test_a_miss_names_the_facts_that_changed_since_the_nearest_kept_one(tmp_path: Path) -> None:
    for rows in ("3", "4"):
        programs(tmp_path, version="1").get("double", {"rows": rows}, lower)
    later = programs(tmp_path, version="2")
    later.get("double", {"rows": "4"}, lower)
    assert not later.origins[0].found
    assert str(later.origins[0]) == "double: compiled, changed: version was 1, is 2"


def test_a_first_start_says_that_nothing_is_kept(tmp_path: Path) -> None:
    first = programs(tmp_path)
    first.get("double", {}, lower)
    assert str(first.origins[0]) == "double: compiled, no program of this name is kept"


def test_long_facts_are_kept_as_their_digest(tmp_path: Path) -> None:
    programs(tmp_path).get("double", {"model": "x" * 1000}, lower)
    later = programs(tmp_path)
    later.get("double", {"model": "y" * 1000}, lower)
    assert "model was digest " in later.origins[0].why
    assert "yyy" not in later.origins[0].why


def test_a_damaged_file_is_compiled_again_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    programs(tmp_path).get("double", {}, lower)
    [kept] = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-100])
    later = programs(tmp_path)
    assert answer(later.get("double", {}, lower)) == [1, 3, 5]
    assert "cannot be used" in later.origins[0].why
    assert kept.name in caplog.text
    assert answer(programs(tmp_path).get("double", {}, never)) == [1, 3, 5]


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    assert answer(programs(tmp_path / "taken").get("double", {}, lower)) == [1, 3, 5]
    assert "cannot keep" in caplog.text


def test_a_file_of_another_user_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path).get("double", {}, lower)
    [kept] = tmp_path.iterdir()
    if os.getuid() == 0:
        os.chown(kept, 12345, 12345)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    later = programs(tmp_path)
    later.get("double", {}, lower)
    assert "belongs to another user" in later.origins[0].why


def test_only_the_programs_used_last_are_kept(tmp_path: Path) -> None:
    for index in range(KEPT_PER_NAME + 2):
        programs(tmp_path).get("double", {"rows": str(index)}, lower)
        for path in tmp_path.glob("*"):  # the clock of files may not tell them apart
            os.utime(path, (path.stat().st_mtime - 1, path.stat().st_mtime - 1))
    programs(tmp_path).get("double twice", {}, lower)
    assert len([*tmp_path.glob("double-*")]) == KEPT_PER_NAME + 1
    last = {"rows": str(KEPT_PER_NAME + 1)}
    assert answer(programs(tmp_path).get("double", last, never)) == [1, 3, 5]


def test_without_a_folder_everything_is_compiled() -> None:
    assert answer(programs(None).get("double", {}, lower)) == [1, 3, 5]


def test_facts_of_the_process_name_versions_hardware_and_flags_but_no_path() -> None:
    facts = process_facts(make_mesh(tensor_parallel=2))
    assert {"jaxserve", "source", "jaxlib", "hardware", "XLA_FLAGS", "mesh"} <= facts.keys()
    assert facts["devices"] == f"[0, 1] of {jax.device_count()}"
    assert facts == process_facts(make_mesh(tensor_parallel=2))
    assert str(Path(__file__).parents[2]) not in str(facts)
