"""TGI's flags and variables start the same server; what has no meaning here is said."""

from __future__ import annotations

from pathlib import Path

import pytest

import jaxserve.launch
from jaxserve import tgi_launcher
from jaxserve.config import ServeConfig
from jaxserve.errors import ConfigError
from jaxserve.tgi_launcher import FLAGS, translate


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServeConfig]:
    configs: list[ServeConfig] = []
    monkeypatch.setattr(jaxserve.launch, "serve", configs.append)
    for flag in FLAGS:
        for name in flag.variables:
            monkeypatch.delenv(name, raising=False)
    return configs


def test_flags_of_a_usual_command_line_arrive(served: list[ServeConfig]) -> None:
    tgi_launcher.main(
        "--model-id org/model --revision abc --num-shard 2 --max-input-length 100 -p 80 "
        "--max-total-tokens 200 --max-concurrent-requests 7 --max-best-of 3 --api-key k "
        "--max-batch-prefill-tokens 64 --cors-allow-origin https://a,https://b "
        "--graceful-termination-timeout 25 --json-output".split()
    )
    config = served[0]
    assert (config.source.model, config.source.revision) == ("org/model", "abc")
    assert config.mesh.tensor_parallel == 2
    engine = config.engine
    assert (engine.max_input_tokens, engine.max_model_len) == (100, 200)
    assert (engine.max_concurrent_requests, engine.token_budget) == (7, 64)
    server = config.server
    assert (server.host, server.port, server.api_key) == ("0.0.0.0", 80, ("k",))
    assert server.cors_allow_origin == ("https://a", "https://b")
    assert (server.shutdown_timeout, server.log_format) == (25.0, "json")
    assert config.tgi.max_best_of == 3


def test_templates_and_grammars_are_as_tgi_is_told(
    served: list[ServeConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    tgi_launcher.main(["--tokenizer-config-path", "/a/b.json", "--disable-grammar-support"])
    assert served[0].source.chat_template == Path("/a/b.json")
    assert not served[0].api.grammar_support
    monkeypatch.setenv("DISABLE_GRAMMAR_SUPPORT", "false")
    tgi_launcher.main([])
    assert served[1].api.grammar_support


def test_what_weights_are_stored_as_is_read_from_them(served: list[ServeConfig]) -> None:
    for text, made in (("awq", None), ("eetq", "int8"), ("bitsandbytes-nf4", "int4")):
        config, _ = translate({"quantize": text, "kv-cache-dtype": "fp8_e4m3fn"})
        assert (config.source.quantize, config.engine.kv_cache_dtype) == (made, "fp8")


def test_without_flags_it_listens_where_tgi_does(served: list[ServeConfig]) -> None:
    tgi_launcher.main([])
    assert (served[0].server.host, served[0].server.port) == ("0.0.0.0", 3000)


def test_variables_are_read_and_flags_win(
    served: list[ServeConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_ID", "by/env")
    monkeypatch.setenv("PORT", "81")
    monkeypatch.setenv("JSON_OUTPUT", "false")
    monkeypatch.setenv("HOSTNAME", "0123456789ab")
    tgi_launcher.main(["serve", "--port", "82"])
    config = served[0]
    assert (config.source.model, config.server.port) == ("by/env", 82)
    assert (config.server.host, config.server.log_format) == ("0.0.0.0", "text")


def test_what_has_no_meaning_is_said(
    served: list[ServeConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    tgi_launcher.main("--sharded true --max-waiting-tokens 20 --trust-remote-code".split())
    assert len(served) == 1
    told = capsys.readouterr().err
    for name in ("--sharded", "--max-waiting-tokens", "--trust-remote-code"):
        assert f"{name} has no meaning here: " in told


@pytest.mark.parametrize(
    ("flag", "text", "why"),
    [
        ("port", "abc", "not a number"),
        ("port", "70000", "65535"),
        ("dtype", "float16", "bfloat16"),
        ("quantize", "exl2", "can't be had"),
        ("rope-factor", "2", "config.json"),
        ("speculate", "17", "num_speculative_tokens"),
        ("ngrok", "true", "tunnels"),
        ("json-output", "maybe", "neither true nor false"),
    ],
)
def test_what_can_not_be_had_is_refused(flag: str, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        translate({flag: text})


def test_a_wrong_flag_exits_with_2(served: list[ServeConfig]) -> None:
    for arguments in (["--max-batch"], ["--port", "x"]):
        with pytest.raises(SystemExit) as exited:
            tgi_launcher.main(arguments)
        assert exited.value.code == 2
    assert served == []


def test_a_mounted_model_is_found(
    served: list[ServeConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(tgi_launcher, "MODEL_FOLDERS", ("/nowhere", str(tmp_path)))
    tgi_launcher.main([])
    assert served[0].source.model == str(tmp_path)


def test_every_field_a_flag_sets_exists() -> None:
    values = ServeConfig()
    for flag in FLAGS:
        assert bool(flag.sets) != bool(flag.why) or flag.read is not str
        if flag.sets:
            assert hasattr(getattr(values, flag.sets[0]), flag.sets[1]), flag.name


@pytest.mark.parametrize(("text", "method"), [("3", "ngram"), ("0", None)])
def test_speculate_says_how_many_tokens(
    served: list[ServeConfig], text: str, method: str | None
) -> None:
    tgi_launcher.main(["--speculate", text])
    speculation = served[0].speculation
    assert speculation.speculative == method
    assert speculation.num_speculative_tokens == (3 if method else 4)
