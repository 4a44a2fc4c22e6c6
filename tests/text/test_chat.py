"""Chats render as `transformers` renders them, after messages take the form a template wants."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from jaxserve.errors import ConfigError, InvalidRequest
from jaxserve.text.chat import ChatOptions
from jaxserve.text.prompt import PromptEncoder
from jaxserve.text.tokenizer import FolderTokenizer, load_tokenizer
from tests.text.model_folders import byte_level, write_json
from tests.text.test_detokenizer import hub_tokenizer

PLAIN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
STRICT = """
{%- if messages[0].role == 'system' %}{% set rest = messages[1:] %}<<{{ messages[0].content }}>>
{%- else %}{% set rest = messages %}{% endif %}
{%- for m in rest %}
  {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
    {{- raise_exception('Roles must alternate user/assistant') }}
  {%- endif %}[{{ m.role }}]{{ m.content.strip() }}
{%- endfor %}"""
PARTS = (
    "{% for m in messages %}[{{ m.role }}]"
    "{% for p in m.content %}{% if p.type == 'text' %}({{ p.text }}){% endif %}{% endfor %}"
    "{% endfor %}"
)
BOTH = (
    "{% for m in messages %}[{{ m.role }}]{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for p in m.content %}({{ p.text }}){% endfor %}{% endif %}{% endfor %}"
)
TOOLS = """
{%- if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}
{%- for m in messages %}[{{ m.role }}]{{ m.content }}
  {%- if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}
  {%- for c in m.tool_calls or [] %}
    {{- c.function.name }}({{ c.function.arguments | tojson }})
  {%- endfor %}
{%- endfor %}
{%- if enable_thinking is defined %}think={{ enable_thinking }}{% endif %}"""

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Grüße 👍🏽 & <b>"},
    {"role": "assistant", "content": "你好 "},
    {"role": "user", "content": ""},
]
PART = {"type": "text", "text": "one"}


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_level(tmp_path_factory.mktemp("chat"))


def with_template(folder: Path, template: str) -> FolderTokenizer:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", config | {"chat_template": template})
    return load_tokenizer(folder)


def render(folder: Path, template: str, messages: Any, /, **options: Any) -> str:
    return with_template(folder, template).render_chat(messages, ChatOptions(**options))


def refusal(folder: Path, template: str, messages: Any, /, **options: Any) -> InvalidRequest:
    tokenizer = with_template(folder, template)
    with pytest.raises(InvalidRequest) as caught:
        tokenizer.render_chat(messages, ChatOptions(**options))
    return caught.value


@pytest.mark.parametrize("add_generation_prompt", [True, False])
def test_a_chat_renders_as_transformers_renders_it(
    folder: Path, tokenizer: FolderTokenizer, add_generation_prompt: bool
) -> None:
    options = ChatOptions(add_generation_prompt=add_generation_prompt)
    hub = hub_tokenizer(folder)
    expected = hub.apply_chat_template(
        CHAT, tokenize=False, add_generation_prompt=add_generation_prompt
    )
    assert tokenizer.render_chat(CHAT, options) == expected
    ids = hub.apply_chat_template(
        CHAT, tokenize=True, return_dict=False, add_generation_prompt=add_generation_prompt
    )
    assert tokenizer.encode(expected, add_special_tokens=options.add_special_tokens) == ids


@pytest.mark.parametrize("template", [PLAIN, PARTS, BOTH, TOOLS])
def test_strings_render_as_transformers_renders_what_the_template_wants(
    base_folder: Path, template: str
) -> None:
    tokenizer = with_template(base_folder, template)
    wanted: list[dict[str, Any]] = CHAT
    if template is PARTS:
        wanted = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in CHAT]
    expected = hub_tokenizer(base_folder).apply_chat_template(wanted, tokenize=False)
    assert tokenizer.render_chat(CHAT, ChatOptions()) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (PLAIN, "[user]one\ntwo"),
        (STRICT, "[user]one\ntwo"),
        (PARTS, "[user](one)(two)"),
        (BOTH, "[user](one)(two)"),
    ],
)
@pytest.mark.parametrize("second", [{"type": "input_text", "text": "two"}, "two"])
def test_parts_take_the_form_the_template_wants(
    base_folder: Path, template: str, expected: str, second: Any
) -> None:
    messages = [{"role": "user", "content": [PART, second]}]
    assert render(base_folder, template, messages) == expected


@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
def test_parts_are_joined_for_every_role(base_folder: Path, role: str) -> None:
    assert render(base_folder, PLAIN, [{"role": role, "content": [PART, PART]}]) == (
        f"[{role}]one\none"
    )


@pytest.mark.parametrize("template", [PLAIN, PARTS, BOTH, TOOLS])
@pytest.mark.parametrize("message", [{"content": None}, {}, {"content": None, "tool_calls": []}])
def test_null_content_is_empty(base_folder: Path, template: str, message: Any) -> None:
    text = render(base_folder, template, [{"role": "assistant", **message}])
    assert text.replace("()", "") == "[assistant]"


def test_developer_is_system_unless_the_template_names_it(base_folder: Path) -> None:
    messages = [{"role": "developer", "content": "x"}]
    assert render(base_folder, PLAIN, messages) == "[system]x"
    assert render(base_folder, PLAIN + "{# a developer #}", messages) == "[system]x"
    for quote in "'\"":
        template = PLAIN + f"{{% if role == {quote}developer{quote} %}}{{% endif %}}"
        assert render(base_folder, template, messages) == "[developer]x"


def test_leading_system_messages_are_merged_when_the_template_refuses(base_folder: Path) -> None:
    messages = [
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [PART]},
        {"role": "user", "content": "q"},
    ]
    assert render(base_folder, STRICT, messages) == "<<a\n\none>>[user]q"
    assert render(base_folder, PLAIN, messages) == "[system]a[system]one[user]q"
    only_one = PARTS + (
        "{% if messages | selectattr('role', 'equalto', 'system') | list | length > 1 %}"
        "{{ raise_exception('two') }}{% endif %}"
    )
    assert render(base_folder, only_one, messages) == "[system](a\n\none)[user](q)"


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
        [*CHAT[1:3], {"role": "system", "content": "late"}],
        [{"role": "assistant", "content": "a"}],
    ],
)
def test_a_refusal_has_the_words_of_the_template(base_folder: Path, messages: Any) -> None:
    error = refusal(base_folder, STRICT, messages)
    assert "Roles must alternate user/assistant" in error.message
    assert (error.param, error.code) == ("messages", "invalid_template")


@pytest.mark.parametrize(
    "template", ["{{ messages[5].content }}", "{{ 1 / 0 }}", "{{ nothing.x }}"]
)
def test_a_template_that_breaks_is_a_refusal(base_folder: Path, template: str) -> None:
    assert refusal(base_folder, template, CHAT).code == "invalid_template"


def test_arguments_of_tool_calls_are_objects_to_the_template(base_folder: Path) -> None:
    def call(arguments: Any) -> str:
        function = {"name": "f", "arguments": arguments}
        calls = [{"id": "1", "type": "function", "function": function}]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        return render(base_folder, TOOLS, [message]).removeprefix("[assistant]")

    assert call('{"a": {"b": ["é"]}}') == 'f({"a": {"b": ["é"]}})'
    assert call({"a": 1}) == 'f({"a": 1})'
    assert call("") == call("null") == call(None) == "f({})"
    assert call('{"a": ') == 'f("{\\"a\\": ")'
    assert call("[1]") == 'f("[1]")'
    assert call("[" * 100_000).startswith('f("[[')


def test_reasoning_has_either_name(base_folder: Path) -> None:
    for name in ("reasoning", "reasoning_content"):
        message = {"role": "assistant", "content": "a", name: "why"}
        assert render(base_folder, TOOLS, [message]) == "[assistant]a<think>why</think>"


def test_tools_reach_the_template_and_none_is_no_tools(base_folder: Path) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    chat = [{"role": "user", "content": "x"}]
    assert json.dumps(tool) in render(base_folder, TOOLS, chat, tools=[tool])
    assert render(base_folder, TOOLS, chat, tools=[]) == "[user]x"


def test_template_kwargs_reach_the_template(base_folder: Path) -> None:
    chat = [{"role": "user", "content": "x"}]
    text = render(base_folder, TOOLS, chat, template_kwargs={"enable_thinking": False})
    assert text == "[user]xthink=False"


@pytest.mark.parametrize(
    "name",
    ["messages", "conversation", "tools", "tokenize", "add_generation_prompt", "chat_template"],
)
def test_template_kwargs_may_not_set_what_is_ours(base_folder: Path, name: str) -> None:
    error = refusal(base_folder, PLAIN, CHAT, template_kwargs={name: "x"})
    assert error.param == f"chat_template_kwargs.{name}"


def test_the_final_message_can_be_continued(tokenizer: FolderTokenizer) -> None:
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well"}]
    text = tokenizer.render_chat(chat, ChatOptions(continue_final_message=True))
    assert text.endswith("<|im_start|>assistant\nWell")


def test_a_template_that_takes_too_long_is_stopped(base_folder: Path) -> None:
    slow = "{% for a in messages %}{% for b in messages %}{{ b.content }}{% endfor %}{% endfor %}"
    tokenizer = with_template(base_folder, slow)
    encoder = PromptEncoder(tokenizer, max_model_len=100, max_render_s=0.1)
    many = [{"role": "user", "content": "a"}] * 3000
    with pytest.raises(InvalidRequest, match="too long for so many") as refused:
        asyncio.run(encoder.render_chat(many, ChatOptions()))
    assert refused.value.code == "invalid_template"
    assert asyncio.run(encoder.render_chat(many[:3], ChatOptions())) == "a" * 9
    encoder.close()


def named(folder: Path, how: str, **templates: str) -> FolderTokenizer:
    """A tokenizer with named templates, kept in tokenizer_config.json or in files of their own."""
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    if how == "config":
        config["chat_template"] = [{"name": n, "template": t} for n, t in templates.items()]
    else:
        (folder / "additional_chat_templates").mkdir()
        for name, template in templates.items():
            file = "chat_template" if name == "default" else f"additional_chat_templates/{name}"
            (folder / f"{file}.jinja").write_text(template)
    write_json(folder / "tokenizer_config.json", config)
    return load_tokenizer(folder)


@pytest.mark.parametrize("how", ["config", "files"])
def test_chats_with_tools_take_the_template_named_for_them(tmp_path: Path, how: str) -> None:
    folder = byte_level(tmp_path)
    tokenizer = named(folder, how, default=PLAIN, tool_use=TOOLS, rag="rag")
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    hub = hub_tokenizer(folder)
    for tools in ([], [tool]):
        expected = hub.apply_chat_template(CHAT, tools=tools or None, tokenize=False)
        assert tokenizer.render_chat(CHAT, ChatOptions(tools=tools)) == expected
    assert tokenizer.chat_template == f"{PLAIN}\nrag\n{TOOLS}"


def test_each_named_template_gets_the_content_it_takes(tmp_path: Path) -> None:
    tokenizer = named(byte_level(tmp_path), "config", default=PLAIN, tool_use=PARTS)
    chat = [{"role": "user", "content": [PART, PART]}]
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    assert tokenizer.render_chat(chat, ChatOptions()) == "[user]one\none"
    assert tokenizer.render_chat(chat, ChatOptions(tools=[tool])) == "[user](one)(one)"


def test_a_chat_that_no_named_template_is_for_is_refused(tmp_path: Path) -> None:
    tokenizer = named(byte_level(tmp_path), "config", tool_use=TOOLS)
    with pytest.raises(InvalidRequest, match="default") as caught:
        tokenizer.render_chat(CHAT, ChatOptions())
    assert caught.value.code == "invalid_template"


def test_a_template_file_goes_before_the_config(tmp_path: Path) -> None:
    folder = byte_level(tmp_path)
    (folder / "chat_template.jinja").write_text(PLAIN)
    assert load_tokenizer(folder).chat_template == PLAIN
    expected = hub_tokenizer(folder).apply_chat_template(CHAT, tokenize=False)
    assert load_tokenizer(folder).render_chat(CHAT, ChatOptions()) == expected


EVERYTHING = """
{%- set ns = namespace(last=-1) %}
{%- for m in messages if m.role == 'user' %}{% set ns.last = loop.index0 * 2 + 1 %}{% endfor %}
{%- macro line(m, i) %}
{{ m.role | upper }}{{ ' *' if i == ns.last }}: {{ m.content | trim | tojson }}
{%- endmacro %}
{{- bos_token }}{% for m in messages %}
{%- if loop.index0 == 9 %}{% break %}{% endif %}
{%- generation %}{{ line(m, loop.index0) }}{% endgeneration %}
{%- endfor %}
{{- messages[0] | tojson(indent=2) }}{{ {'b': 1, 'a': '<é>'} | tojson }}{{ eos_token }}
"""


def test_what_templates_are_written_with_renders_as_in_transformers(tmp_path: Path) -> None:
    tokenizer = with_template(byte_level(tmp_path), EVERYTHING)
    expected = hub_tokenizer(tmp_path).apply_chat_template(CHAT, tokenize=False)
    assert tokenizer.render_chat(CHAT, ChatOptions()) == expected
    assert "USER *:" in expected and "<é>" in expected


CALLS = [
    {"role": "user", "content": "?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_AbCdEfGhIjKl",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a": "é"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_AbCdEfGhIjKl", "content": "5"},
]
# How DeepSeek's and Mistral's templates show calls.
CONCATENATING = """
{%- for m in messages %}{% if m.tool_calls %}
  {%- for c in m.tool_calls %}{{ '<' + c.function.name + '|' + c.function.arguments + '>' }}
  {%- endfor %}{% else %}{{ '[' + m.content + ']' }}{% endif %}{% endfor %}"""
NINE_LETTERS = """
{%- for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}
  {%- if c.id|length != 9 %}{{ raise_exception('ids must have 9 letters') }}{% endif %}
  {{- c.function|tojson }}{{ c.id }}{% endfor %}
  {%- elif m.role == 'tool' %}
  {%- if m.tool_call_id|length != 9 %}{{ raise_exception('ids must have 9 letters') }}{% endif %}
  {{- m.tool_call_id }}{{ m.content }}{% else %}{{ m.content }}{% endif %}{% endfor %}"""


def test_a_template_that_joins_text_gets_arguments_as_json(
    base_folder: Path,
) -> None:
    assert render(base_folder, CONCATENATING, CALLS) == '[?]<f|{"a": "é"}>[5]'


def test_a_template_that_wants_ids_of_nine_letters_gets_them(base_folder: Path) -> None:
    shown = '?{"name": "f", "arguments": {"a": "é"}}'
    assert render(base_folder, NINE_LETTERS, CALLS) == f"{shown}dEfGhIjKldEfGhIjKl5"
    foreign = json.loads(json.dumps(CALLS).replace("call_AbCdEfGhIjKl", "call-1"))
    text = render(base_folder, NINE_LETTERS, foreign).removeprefix(shown)
    assert text[:9] == text[9:18] and text[:9].isalnum()


def test_most_templates_get_calls_as_they_are(base_folder: Path) -> None:
    assert render(base_folder, TOOLS, CALLS) == '[user]?[assistant]f({"a": "é"})[tool]5'


def test_a_template_of_the_request_takes_the_place_of_the_models(base_folder: Path) -> None:
    own = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    messages = [{"role": "user", "content": [PART]}]
    assert render(base_folder, PLAIN, messages, template=own) == "<user>one"
    assert render(base_folder, PLAIN, messages, template=PARTS) == "[user](one)"
    assert render(base_folder, PLAIN, messages) == "[user]one"


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", "{% for %}", "{{ 1 / 0 }}"])
def test_a_broken_template_of_the_request_is_refused(base_folder: Path, template: str) -> None:
    refused = refusal(base_folder, PLAIN, CHAT, template=template)
    assert (refused.param, refused.code) == ("messages", "invalid_template")


def test_a_template_of_the_request_sees_no_python(base_folder: Path) -> None:
    reaches = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    assert refusal(base_folder, PLAIN, CHAT, template=reaches).code == "invalid_template"


def test_system_messages_are_not_merged_where_that_is_not_wanted(base_folder: Path) -> None:
    two = [{"role": "system", "content": "a"}, *CHAT]
    assert "a\n\nBe brief." in render(base_folder, STRICT, two)
    refused = refusal(base_folder, STRICT, two, merge_system_messages=False)
    assert "must alternate" in str(refused)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat.jinja", "{% for m in messages %}<{{ m.content }}>{% endfor %}"),
        (
            "tokenizer_config.json",
            json.dumps({"chat_template": "{% for m in messages %}<{{ m.content }}>{% endfor %}"}),
        ),
    ],
)
def test_a_file_has_another_template(
    base_folder: Path, tmp_path: Path, name: str, content: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    tokenizer = load_tokenizer(base_folder, chat_template=path)
    assert tokenizer.render_chat([{"role": "user", "content": "x"}], ChatOptions()) == "<x>"
    assert tokenizer.chat_template.startswith("{% for")


@pytest.mark.parametrize(("name", "content"), [("a.json", "{}"), ("a.json", "["), ("b", None)])
def test_a_file_without_a_template_is_named(
    base_folder: Path, tmp_path: Path, name: str, content: str | None
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=f"chat_template.*{name}"):
        load_tokenizer(base_folder, chat_template=tmp_path / name)
