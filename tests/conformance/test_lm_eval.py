"""lm-evaluation-harness over HTTP: its scores are those of the same weights in transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.models.api_models import JsonChatStr

pytestmark = pytest.mark.client("lm-evaluation-harness", "lm_eval")

PAIRS = [
    ("The capital of France is", " Paris."),
    ("The capital of France is", " Madrid."),
    ("2 plus 2 is", " 4"),
    ("Hello", " there, this is a much longer continuation."),
]
LOGPROB = 1e-4  # nats a token


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    return [
        Instance(request_type=kind, doc={}, arguments=one, idx=index)
        for index, one in enumerate(arguments)
    ]


@pytest.fixture(scope="module")
def completions(chat_url: str, tiny_chat: Path) -> Any:
    return get_model("local-completions").create_from_arg_string(
        f"base_url={chat_url}/v1/completions,model=tiny-chat,tokenizer_backend=huggingface,"
        f"tokenizer={tiny_chat},num_concurrent=2,batch_size=3,max_length=2048"
    )


@pytest.fixture(scope="module")
def reference(tiny_chat: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(tiny_chat, dtype=torch.float32)


def forward(reference: Any, context: list[int], tokens: list[int]) -> tuple[float, bool]:
    """The log-likelihood of tokens after a context, and whether each is the likeliest one."""
    with torch.no_grad():
        logits = reference(torch.tensor([context + tokens])).logits[0]
    rows = torch.log_softmax(logits, -1)[len(context) - 1 : -1]
    likely = rows.argmax(-1).tolist() == tokens
    return sum(row[token].item() for row, token in zip(rows, tokens, strict=True)), likely


def test_log_likelihoods_are_those_of_a_forward_pass(completions: Any, reference: Any) -> None:
    scored = completions.loglikelihood(instances("loglikelihood", [*PAIRS]))
    for (context, continuation), (ours, greedy) in zip(PAIRS, scored, strict=True):
        known = completions.tok_encode(context)
        tokens = completions.tok_encode(context + continuation)[len(known) :]
        wanted, likely = forward(reference, known, tokens)
        assert ours == pytest.approx(wanted, abs=LOGPROB * len(tokens))
        assert greedy == likely


def test_rolling_log_likelihood(completions: Any, reference: Any) -> None:
    text = "The capital of France is Paris."
    (ours,) = completions.loglikelihood_rolling(instances("loglikelihood_rolling", [(text,)]))
    tokens = completions.tok_encode(text)
    wanted, _ = forward(reference, [completions.prefix_token_id], tokens)
    assert ours == pytest.approx(wanted, abs=LOGPROB * len(tokens))


def test_generate_until(completions: Any) -> None:
    asked = ("The capital of France is", {"until": ["."], "max_gen_toks": 8})
    assert completions.generate_until(instances("generate_until", [asked])) == [" Paris"]


def test_a_task_of_multiple_choices(completions: Any) -> None:
    def capitals(**_: Any) -> dict[str, Any]:
        import datasets

        asked = {"France": 0, "Spain": 1}
        rows = [{"q": q, "choices": [" Paris", " Madrid"], "a": a} for q, a in asked.items()]
        return {"test": datasets.Dataset.from_list(rows)}

    task = {
        "task": "capitals",
        "custom_dataset": capitals,
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "The capital of {{q}} is",
        "doc_to_choice": "choices",
        "doc_to_target": "a",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}],
    }
    told = lm_eval.simple_evaluate(
        model=completions, tasks=[task], bootstrap_iters=0, log_samples=False
    )
    assert told["results"]["capitals"]["acc,none"] == 1.0


def test_chat_completions(chat_url: str) -> None:
    chat = get_model("local-chat-completions").create_from_arg_string(
        f"base_url={chat_url}/v1/chat/completions,model=tiny-chat,num_concurrent=1,eos_string=x"
    )
    asked = '[{"role": "user", "content": "What is the capital of France?"}]'
    options = {"until": ["\n"], "max_gen_toks": 20}
    (answer,) = chat.generate_until(instances("generate_until", [(JsonChatStr(asked), options)]))
    assert "Paris" in answer
