"""Which paths are there? One table: who answers, how errors are told, who needs no key."""

from __future__ import annotations

from jaxserve.config import ServerConfig
from jaxserve.server import docs, probes, tokenize
from jaxserve.server.error_styles import OLLAMA, OPENAI, TGI
from jaxserve.server.ollama import embed as ollama_embed
from jaxserve.server.ollama import endpoints as ollama
from jaxserve.server.ollama import models as ollama_models
from jaxserve.server.ollama.schema import OllamaChatBody, OllamaGenerateBody
from jaxserve.server.openai.chat import chat_completions
from jaxserve.server.openai.completions import completions
from jaxserve.server.openai.embeddings import EmbeddingBody, embeddings
from jaxserve.server.openai.response_schema import ResponsesBody
from jaxserve.server.openai.responses import responses
from jaxserve.server.row import GET, POST, Row
from jaxserve.server.schema import ChatBody, CompletionBody
from jaxserve.server.serving import measured
from jaxserve.server.tgi import embed as tgi_embed
from jaxserve.server.tgi import endpoints as tgi
from jaxserve.server.tgi import vertex
from jaxserve.server.tgi.schema import GenerateBody, TokenizeBody
from jaxserve.server.vllm import classify
from jaxserve.server.vllm.adapters import (
    LoadAdapterBody,
    UnloadAdapterBody,
    load_adapter,
    unload_adapter,
)
from jaxserve.server.vllm.development import reset_prefix_cache, start_profile, stop_profile
from jaxserve.server.vllm.rerank import RankTextsBody, RerankBody, rerank
from jaxserve.server.vllm.score import ScoreBody, score

GENERATE = (GenerateBody,)
ANY = (GenerateBody, ChatBody, CompletionBody, EmbeddingBody)
PREDICT = (vertex.PredictBody,)
RERANK = (RerankBody, RankTextsBody)
OLLAMA_PROMPT = (ollama_embed.OllamaEmbeddingsBody,)
TOKENIZE = (TokenizeBody, tokenize.TextBody, tokenize.ConversationBody, tokenize.ContentBody)

ROWS = (
    Row("/", probes.root, GET, TGI, open=True, answers="text/plain"),
    Row("/health", probes.health, GET, OPENAI, open=True),
    Row("/", measured(tgi.generate_either), POST, TGI, GENERATE),
    Row("/generate", measured(tgi.generate), POST, TGI, GENERATE),
    Row("/generate_stream", measured(tgi.generate_stream), POST, TGI, GENERATE),
    Row("/invocations", measured(tgi.invocations), POST, TGI, ANY, also_style=OPENAI),
    Row("/tokenize", tokenize.tokenize, POST, TGI, TOKENIZE, also_style=OPENAI),
    Row("/chat_tokenize", tokenize.chat_tokenize, POST, TGI, (ChatBody,)),
    Row("/apply-template", tokenize.apply_template, POST, OPENAI, (ChatBody,)),
    Row("/detokenize", tokenize.detokenize, POST, OPENAI, (tokenize.DetokenizeBody,)),
    Row("/vertex", measured(vertex.predict), POST, TGI, PREDICT),
    Row("/info", tgi.info, GET, TGI, open=True),
    Row("/ping", probes.health, GET + POST, TGI, open=True),
    Row("/metrics", probes.metrics, GET, OPENAI, open=True, answers="text/plain"),
    Row("/docs", docs.docs, GET, OPENAI, open=True, answers="text/html"),
    Row("/openapi.json", docs.openapi, GET, OPENAI, open=True),
    Row("/api-doc/openapi.json", docs.openapi, GET, OPENAI, open=True),
    Row("/v1/health", probes.health, GET, OPENAI, open=True),
    Row("/start_profile", start_profile, POST, OPENAI),
    Row("/stop_profile", stop_profile, POST, OPENAI),
    Row("/reset_prefix_cache", reset_prefix_cache, POST, OPENAI),
    Row("/v1/load_lora_adapter", load_adapter, POST, OPENAI, (LoadAdapterBody,)),
    Row("/v1/unload_lora_adapter", unload_adapter, POST, OPENAI, (UnloadAdapterBody,)),
    Row("/v1/models", probes.list_models, GET, OPENAI),
    Row("/v1/models/{name:path}", probes.show_model, GET, OPENAI),
    Row("/v1/chat/completions", measured(chat_completions), POST, OPENAI, (ChatBody,)),
    Row("/v1/responses", measured(responses), POST, OPENAI, (ResponsesBody,)),
    Row("/v1/completions", measured(completions), POST, OPENAI, (CompletionBody,)),
    Row("/v1/embeddings", measured(embeddings), POST, OPENAI, (EmbeddingBody,)),
    Row("/embed", measured(tgi_embed.embed), POST, TGI, (tgi_embed.EmbedInputsBody,)),
    Row("/predict", measured(tgi_embed.predict), POST, TGI, (tgi_embed.PredictLabelsBody,)),
    Row("/score", measured(score), POST, OPENAI, (ScoreBody,)),
    Row("/v1/score", measured(score), POST, OPENAI, (ScoreBody,)),
    Row("/rerank", measured(rerank), POST, OPENAI, RERANK, also_style=TGI),
    Row("/v1/rerank", measured(rerank), POST, OPENAI, RERANK, also_style=TGI),
    Row("/v2/rerank", measured(rerank), POST, OPENAI, RERANK, also_style=TGI),
    Row("/classify", measured(classify.classify), POST, OPENAI, (classify.ClassifyBody,)),
    Row("/pooling", measured(classify.pooling), POST, OPENAI, (classify.PoolingBody,)),
    Row("/api/version", probes.version, GET, OLLAMA, open=True),
    Row("/api/tags", ollama_models.tags, GET, OLLAMA),
    Row("/api/ps", ollama_models.running, GET, OLLAMA),
    Row("/api/show", ollama_models.show, POST, OLLAMA, (ollama_models.ShowBody,)),
    Row("/api/generate", measured(ollama.generate), POST, OLLAMA, (OllamaGenerateBody,)),
    Row("/api/chat", measured(ollama.chat), POST, OLLAMA, (OllamaChatBody,)),
    Row("/api/embed", measured(ollama_embed.embed), POST, OLLAMA, (ollama_embed.OllamaEmbedBody,)),
    Row("/api/embeddings", measured(ollama_embed.embeddings), POST, OLLAMA, OLLAMA_PROMPT),
    Row("/api/pull", ollama_models.no_store, POST, OLLAMA),
    Row("/api/push", ollama_models.no_store, POST, OLLAMA),
    Row("/api/create", ollama_models.no_store, POST, OLLAMA),
    Row("/api/copy", ollama_models.no_store, POST, OLLAMA),
    Row("/api/delete", ollama_models.no_store, ("DELETE",), OLLAMA),
    Row("/version", probes.version, GET, OPENAI, open=True),
    Row("/load", probes.load, GET, OPENAI),
)


def rows_for(config: ServerConfig) -> tuple[Row, ...]:
    """The table, after the paths that a hosting platform chose."""
    chosen: list[Row] = []
    if config.health_route:
        chosen.append(Row(config.health_route, probes.health, GET, TGI, open=True))
    if config.predict_route:
        chosen.append(Row(config.predict_route, measured(vertex.predict), POST, TGI, PREDICT))
    return (*chosen, *ROWS)
