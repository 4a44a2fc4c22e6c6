"""What must a server answer to take another's place? Routes and parameters, and who else has them.

Facts about the peers; what is true here is read from the code (scripts/compatibility.py) and shown
by tests/live/test_contract.py, which sends every row to a live server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Priority = Literal["must", "should", "later"]

PEERS = {"O": "OpenAI", "V": "vLLM", "T": "TGI", "M": "Ollama", "L": "llama.cpp"}

USER = [{"role": "user", "content": "Hello!"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
INPUTS = {"inputs": "Hello!", "parameters": {"max_new_tokens": 2}}
CHAT = {"messages": USER, "max_tokens": 2}
TEXT = {"prompt": "Hello!", "max_tokens": 2}
SHORT = {"num_predict": 2}
LORA = {"lora_name": "a", "lora_path": "a"}
BEGUN = {"messages": [*USER, {"role": "assistant", "content": "Hello"}]}


@dataclass(frozen=True, slots=True)
class RouteWish:
    """A route by who has it; `body` is one that every server of it answers.

    `switch` is the flag without which it is refused.
    """

    method: str
    path: str
    peers: str
    priority: Priority
    body: Mapping[str, Any] | None = None
    task: Literal["generate", "embed"] = "generate"
    switch: str = ""

    @property
    def id(self) -> str:
        return f"{self.method} {self.path} {self.peers}"


@dataclass(frozen=True, slots=True)
class ParameterWish:
    """A parameter by who honours it; `beside` are the fields that it needs.

    `switch` is the flag without which it is refused.
    """

    name: str
    value: Any
    peers: str
    priority: Priority = "must"
    beside: Mapping[str, Any] = field(default_factory=dict)
    switch: str = ""


ROUTES = (
    RouteWish("POST", "/v1/chat/completions", "OVTML", "must", CHAT),
    RouteWish("POST", "/v1/completions", "OVTML", "must", TEXT),
    RouteWish("GET", "/v1/models", "OVTML", "must"),
    RouteWish("GET", "/v1/models/tiny-chat", "OM", "must"),
    RouteWish("POST", "/v1/responses", "OVML", "should", {"input": "Hi", "max_output_tokens": 2}),
    RouteWish("POST", "/v1/embeddings", "OVML", "should", {"input": "Hi"}, "embed"),
    RouteWish("POST", "/", "T", "must", INPUTS),
    RouteWish("GET", "/", "TM", "must"),
    RouteWish("POST", "/generate", "T", "must", INPUTS),
    RouteWish("POST", "/generate_stream", "T", "must", INPUTS),
    RouteWish("GET", "/info", "T", "must"),
    RouteWish("GET", "/health", "TVL", "must"),
    RouteWish("GET", "/v1/health", "L", "must"),
    RouteWish("GET", "/ping", "TV", "must"),
    RouteWish("POST", "/ping", "V", "must"),
    RouteWish("POST", "/invocations", "TV", "must", INPUTS),
    RouteWish("POST", "/tokenize", "T", "must", {"inputs": "Hi"}),
    RouteWish("POST", "/tokenize", "V", "must", {"prompt": "Hi"}),
    RouteWish("POST", "/tokenize", "L", "should", {"content": "Hi"}),
    RouteWish("POST", "/detokenize", "VL", "must", {"tokens": [5]}),
    RouteWish("POST", "/apply-template", "L", "should", {"messages": USER}),
    RouteWish("POST", "/chat_tokenize", "T", "should", CHAT),
    RouteWish("POST", "/vertex", "T", "should", {"instances": [INPUTS]}),
    RouteWish("GET", "/metrics", "TVL", "must"),
    RouteWish("GET", "/docs", "TV", "should"),
    RouteWish("GET", "/openapi.json", "V", "should"),
    RouteWish("GET", "/api-doc/openapi.json", "T", "should"),
    RouteWish("GET", "/version", "V", "should"),
    RouteWish("GET", "/load", "V", "should"),
    RouteWish("POST", "/v1/load_lora_adapter", "V", "should", LORA, switch="--lora-routes"),
    RouteWish("POST", "/v1/unload_lora_adapter", "V", "should", LORA, switch="--lora-routes"),
    RouteWish("POST", "/start_profile", "V", "should", {}, switch="--profile-dir"),
    RouteWish("POST", "/stop_profile", "V", "should", {}, switch="--profile-dir"),
    RouteWish("POST", "/reset_prefix_cache", "V", "should", {}, switch="--dev-routes"),
    RouteWish("GET", "/api/version", "M", "should"),
    RouteWish("GET", "/api/tags", "M", "should"),
    RouteWish("POST", "/api/show", "M", "should", {"model": "tiny-chat"}),
    RouteWish("GET", "/api/ps", "M", "should"),
    RouteWish("POST", "/api/generate", "M", "should", {"prompt": "Hi", "options": SHORT}),
    RouteWish("POST", "/api/chat", "M", "should", {"messages": USER, "options": SHORT}),
)

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FORM = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}

# Of /v1/chat/completions; those of the second table are of /v1/completions.
CHAT_PARAMETERS = (
    ParameterWish("model", "tgi", "OVTM"),
    ParameterWish("stream", True, "OVTML"),
    ParameterWish("stream_options", {"include_usage": True}, "OVTM", beside={"stream": True}),
    ParameterWish("max_completion_tokens", 2, "OVTL"),
    ParameterWish("n", 2, "OVL"),
    ParameterWish("temperature", 0.5, "OVTML"),
    ParameterWish("top_p", 0.5, "OVTML"),
    ParameterWish("top_k", 5, "VL"),
    ParameterWish("min_p", 0.1, "VL"),
    ParameterWish("typical_p", 0.5, "L"),
    ParameterWish("presence_penalty", 0.5, "OVML"),
    ParameterWish("frequency_penalty", 0.5, "OVTML"),
    ParameterWish("repetition_penalty", 1.2, "V"),
    ParameterWish("logit_bias", {"5": -100}, "OVL"),
    ParameterWish("seed", 7, "OVTML"),
    ParameterWish("allowed_token_ids", [5, 6], "V", "should"),
    ParameterWish("stop", ["x"], "OVTML"),
    ParameterWish("stop_token_ids", [5], "V"),
    ParameterWish("include_stop_str_in_output", True, "V"),
    ParameterWish("ignore_eos", True, "VL"),
    ParameterWish("min_tokens", 1, "V"),
    ParameterWish("skip_special_tokens", False, "V"),
    ParameterWish("truncate_prompt_tokens", 4, "V"),
    ParameterWish("truncation_side", "right", "V", beside={"truncate_prompt_tokens": 4}),
    ParameterWish("logprobs", True, "OVTML"),
    ParameterWish("top_logprobs", 2, "OVTML", beside={"logprobs": True}),
    ParameterWish("prompt_logprobs", 1, "V", "should"),
    ParameterWish("return_token_ids", True, "V", "should"),
    ParameterWish("return_tokens_as_token_ids", True, "V", "should", {"logprobs": True}),
    ParameterWish("response_format", FORM, "OVTML"),
    ParameterWish("structured_outputs", {"choice": ["a"]}, "V"),
    ParameterWish("guided_json", SCHEMA, "V"),
    ParameterWish("guided_regex", "a", "V"),
    ParameterWish("guided_choice", ["a"], "V"),
    ParameterWish("guided_grammar", 'root ::= "a"', "V"),
    ParameterWish("tools", [TOOL], "OVTML"),
    ParameterWish("tool_choice", "required", "OVTL", beside={"tools": [TOOL]}),
    ParameterWish("parallel_tool_calls", False, "OVL", beside={"tools": [TOOL]}),
    ParameterWish("reasoning_effort", "low", "OVM"),
    ParameterWish("include_reasoning", False, "V"),
    ParameterWish("add_generation_prompt", True, "VL"),
    ParameterWish("continue_final_message", True, "VL", beside=BEGUN),
    ParameterWish("add_special_tokens", True, "V"),
    ParameterWish("chat_template_kwargs", {"a": 1}, "VL"),
    ParameterWish("documents", [{"text": "a"}], "V"),
    ParameterWish("tool_prompt", "a", "T"),
    ParameterWish("request_id", "a", "V"),
    ParameterWish("cache_salt", "a", "V", "should"),
    ParameterWish(
        "chat_template", "{{ 1 }}", "VL", "later", switch="--trust-request-chat-template"
    ),
    ParameterWish("thinking_token_budget", 5, "VL", "later"),
    ParameterWish("bad_words", ["a"], "V", "later"),
    ParameterWish("logprob_token_ids", [5], "V", "later"),
    ParameterWish("repetition_detection", {"a": 1}, "V", "later"),
    ParameterWish("return_prompt_text", True, "V", "later"),
    ParameterWish("use_beam_search", True, "V", "later"),
    ParameterWish("functions", [{"name": "a"}], "O", "later"),
    ParameterWish("modalities", ["audio"], "O", "later"),
    ParameterWish("user", "a", "O", "later"),
    ParameterWish("metadata", {"a": "b"}, "O", "later"),
    ParameterWish("priority", 1, "V", "later"),
    ParameterWish("cache_prompt", True, "L", "later"),
)
TEXT_PARAMETERS = (
    ParameterWish("echo", True, "OV"),
    ParameterWish("logprobs", 1, "OVML"),
    ParameterWish("best_of", 2, "O"),
    ParameterWish("suffix", "a", "OML", "later"),
)
TGI_PARAMETERS = (
    ParameterWish("best_of", 2, "T", beside={"do_sample": True}),
    ParameterWish("temperature", 0.5, "T"),
    ParameterWish("repetition_penalty", 1.2, "T"),
    ParameterWish("frequency_penalty", 0.5, "T"),
    ParameterWish("top_k", 5, "T"),
    ParameterWish("top_p", 0.5, "T"),
    ParameterWish("typical_p", 0.5, "T"),
    ParameterWish("do_sample", True, "T"),
    ParameterWish("max_new_tokens", 2, "T"),
    ParameterWish("return_full_text", True, "T"),
    ParameterWish("stop", ["x"], "T"),
    ParameterWish("truncate", 2, "T"),
    ParameterWish("details", True, "T"),
    ParameterWish("decoder_input_details", True, "T", beside={"details": True}),
    ParameterWish("seed", 7, "T"),
    ParameterWish("top_n_tokens", 2, "T", beside={"details": True}),
    ParameterWish("grammar", {"type": "json", "value": SCHEMA}, "T"),
    ParameterWish("watermark", True, "T", "later"),
)
