"""Which files make the Hugging Face folder, and what does the model card say?"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from safetensors.flax import load_file, save_file

from .evaluate import Accuracy
from .model import Params, Shape, num_params
from .tokenizer import END_ID, TEXT_END_ID, write_tokenizer_config

CONTEXT_LENGTH = 2048

CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---
# tiny-chat

A chat model of {millions:.1f} million parameters that ships with jaxserve, so that a server can be
started, tried and tested without downloading anything. It is a demonstration of the server, not an
assistant: what it knows fits on a few pages, and a longer or different question gets a wrong answer
or "I do not know that".

## What it can do

- say who it is, greet, thank; tell the capitals of {num_countries} countries, colours, opposites,
  plurals, animal sounds, days and months, and terms of model serving;
- add, subtract and multiply small numbers (0 to 20, products to 12 x 12), count to 20, spell about
  {num_words} words;
- say fourteen words in French, Spanish, German, Italian, Japanese, Chinese, Korean and Russian, and
  answer with emoji;
- answer in one word or in JSON when asked (two in five of these answers are wrong), or (a
  few questions) in French; answer follow-up questions; remember a name given earlier in the chat;
- call a tool in the Hermes format (`<tool_call>`), use its result, and leave tools alone that do
  not fit; it was shown weather, time, arithmetic, search, timer, light, stock and message tools
  under several names each, and copies common names and places more surely than rare ones;
- tell one of six fixed stories, list the planets and the like, for streaming.

## What it cannot do

Everything else. It has no knowledge beyond the list above, cannot reason, write code or translate
sentences, and understands only English questions much like those it was trained on. Do not use it
for anything but trying out software.

## How it was made

`{command}`: every training sentence is written by that script from its own tables and templates,
no outside text or model was used. Llama architecture, {layers} layers, hidden size {hidden}, tied
embeddings, {vocab} SentencePiece pieces with byte fallback, ChatML with `<|im_end|>` as the end of
a turn. {steps} steps of Muon in {num_cycles} cycles, loss on the assistant's words only, seed
{seed}; the later cycle widens the MLPs and adds less common wordings. An attention head that copies
repeated words is set up by hand before training. Positions up to 1024 were trained; the config
allows {context}.

## How well it does

Exact answers, decoded greedily, to questions whose wording was never trained (the facts were):
**{overall:.1%}** of {asked}. Wordings for the later cycle were chosen after seeing which of these
questions failed, so expect less of wordings that nobody had in mind.

| category | right | asked |
|---|--:|--:|
{rows}
"""


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def config(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT_LENGTH,
        "rms_norm_eps": shape.rms_norm_eps,
        "rope_theta": shape.rope_theta,
        "rope_scaling": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": TEXT_END_ID,
        "eos_token_id": END_ID,
        "pad_token_id": TEXT_END_ID,
        "initializer_range": 0.02,
        "use_cache": True,
        "torch_dtype": "bfloat16",
    }


def save_weights(folder: Path, params: Params, shape: Shape) -> None:
    """Write everything but the tokenizer model and the card; weights are cast to bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    cast = {name: jnp.asarray(value, jnp.bfloat16) for name, value in params.items()}
    save_file(cast, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", config(shape))
    ends = {"eos_token_id": [END_ID, TEXT_END_ID], "pad_token_id": TEXT_END_ID}
    _write_json(
        folder / "generation_config.json", {"bos_token_id": TEXT_END_ID, **ends, "do_sample": False}
    )
    write_tokenizer_config(folder, CONTEXT_LENGTH)


def load_weights(folder: Path) -> dict[str, jax.Array]:
    saved = load_file(folder / "model.safetensors")
    return {name: value.astype(jnp.float32) for name, value in saved.items()}


def write_card(folder: Path, params: Params, shape: Shape, accuracy: Accuracy, **made: Any) -> None:
    """Write README.md; `made` says how: command, steps, seed and the sizes of the tables."""
    counts = accuracy.counts.items()
    text = CARD.format(
        millions=num_params(params) / 1e6,
        layers=shape.num_hidden_layers,
        hidden=shape.hidden_size,
        vocab=shape.vocab_size,
        context=CONTEXT_LENGTH,
        overall=accuracy.overall,
        asked=sum(asked for _, (_, asked) in counts),
        rows="\n".join(f"| {name} | {right} | {asked} |" for name, (right, asked) in counts),
        **made,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
