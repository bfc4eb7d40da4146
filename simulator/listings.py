"""The public catalogues: models, endpoints, providers. Knows no keys."""

from __future__ import annotations

from typing import Any

from simulator.catalogue import CREATED, MODELS, Model, find
from simulator.delivery import refuse
from simulator.faults import FAULTS
from simulator.money import price
from simulator.world import Call

_PARAMETERS = [
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "tools",
    "tool_choice",
    "response_format",
    "structured_outputs",
    "reasoning",
    "include_reasoning",
]
_PERCENTILES = {"p50": 0.4, "p75": 0.6, "p90": 0.9, "p99": 1.6}
_SITES = {"Google": "https://cloud.google.com", "OpenAI": "https://openai.com", "Anthropic": "https://anthropic.com"}


def _architecture(model: Model) -> dict[str, Any]:
    return {
        "modality": f"{'+'.join(model.inputs)}->{'+'.join(model.outputs)}",
        "input_modalities": list(model.inputs),
        "output_modalities": list(model.outputs),
        "tokenizer": model.tokenizer,
        "instruct_type": None,
    }


def _pricing(model: Model) -> dict[str, Any]:
    return {
        "prompt": price(model.prompt_nano),
        "completion": price(model.completion_nano),
        "request": price(model.request_nano),
        "image": "0",
    }


def _parameters(model: Model) -> list[str]:
    return _PARAMETERS if model.kind == "chat" else []


def _entry(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "canonical_slug": model.id,
        "hugging_face_id": None,
        "name": model.name,
        "created": CREATED,
        "description": f"{model.name}, as the simulator plays it.",
        "context_length": model.context,
        "architecture": _architecture(model),
        "pricing": _pricing(model),
        "top_provider": {
            "context_length": model.context,
            "max_completion_tokens": model.max_output or None,
            "is_moderated": model.moderated,
        },
        "per_request_limits": None,
        "supported_parameters": _parameters(model),
        "supported_voices": list(model.voices) or None,
        "default_parameters": None,
        "knowledge_cutoff": None,
        "expiration_date": None,
        "links": {"details": f"/api/v1/models/{model.id}/endpoints"},
    }


def _endpoint(model: Model) -> dict[str, Any]:
    return {
        "name": f"{model.provider} | {model.id}",
        "model_id": model.id,
        "model_name": model.name,
        "context_length": model.context,
        "pricing": {**_pricing(model), "discount": 0},
        "provider_name": model.provider,
        "tag": _slug(model.provider),
        "quantization": None,
        "max_completion_tokens": model.max_output or None,
        "max_prompt_tokens": None,
        "supported_parameters": _parameters(model),
        "status": 0,
        "uptime_last_5m": 100,
        "uptime_last_30m": 100,
        "uptime_last_1d": 99.9,
        "supports_implicit_caching": False,
        "latency_last_30m": _PERCENTILES,
        "throughput_last_30m": dict.fromkeys(_PERCENTILES, 60),
    }


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")


def _wanted(call: Call) -> list[Model]:
    """The filters of /models that matter: by text, modality, parameter, category's stand-in."""
    query = call.request.query
    models = list(MODELS)
    outputs = query.get("output_modalities")
    if outputs == "all":
        pass
    elif outputs:
        models = [model for model in models if set(model.outputs) & set(outputs.split(","))]
    else:
        models = [model for model in models if "text" in model.outputs]
    if inputs := query.get("input_modalities"):
        models = [model for model in models if set(inputs.split(",")) <= set(model.inputs)]
    if parameters := query.get("supported_parameters"):
        models = [model for model in models if set(parameters.split(",")) <= set(_parameters(model))]
    if text := query.get("q"):
        models = [model for model in models if text.lower() in f"{model.id} {model.name}".lower()]
    if query.get("free") == "true" or query.get("max_price") == "0":
        models = [model for model in models if model.free]
    return models


async def models(call: Call) -> None:
    """GET /models and /models/user, in pages when asked."""
    if call.request.query.get("use_rss") == "true":
        items = "".join(f"<item><title>{model.name}</title><guid>{model.id}</guid></item>" for model in MODELS)
        text = f"<rss><channel><title>OpenRouter Models</title>{items}</channel></rss>"
        call.exchange.answer(200, call.world.headers("application/rss+xml"), text.encode())
        return
    _list(call, _wanted(call))


def _list(call: Call, found: list[Model]) -> None:
    query = call.request.query
    offset = _number(query.get("offset"), 0)
    limit = _number(query.get("limit"), len(found))
    more = offset + limit < len(found)
    link = f"/api/v1{call.path}?offset={offset + limit}&limit={limit}" if more else None
    page = [_entry(model) for model in found[offset : offset + limit]]
    call.answer({"data": page, "links": {"next": link}, "total_count": len(found)})


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() else default


async def count(call: Call) -> None:
    call.answer({"data": {"count": len(_wanted(call))}})


def _named(call: Call) -> Model | None:
    model = find("/".join(call.args))
    if model is None:
        refuse(call, FAULTS["404-model"])
    return model


async def model_record(call: Call) -> None:
    if (model := _named(call)) is not None:
        call.answer({"data": _entry(model)})


async def endpoints(call: Call) -> None:
    if (model := _named(call)) is not None:
        entry = _entry(model)
        kept = {name: entry[name] for name in ("id", "name", "created", "description", "architecture")}
        call.answer({"data": {**kept, "endpoints": [_endpoint(model)]}})


async def embedding_models(call: Call) -> None:
    _list(call, [model for model in MODELS if model.kind == "embedding"])


async def image_models(call: Call) -> None:
    found = [model for model in MODELS if model.kind == "image"]
    call.answer(
        {
            "data": [
                {
                    "id": model.id,
                    "name": model.name,
                    "created": CREATED,
                    "description": f"{model.name}, as the simulator plays it.",
                    "architecture": {
                        "input_modalities": list(model.inputs),
                        "output_modalities": list(model.outputs),
                    },
                    "endpoints": f"/api/v1/images/models/{model.id}/endpoints",
                    "supported_parameters": {},
                    "supports_streaming": True,
                }
                for model in found
            ]
        }
    )


async def image_endpoints(call: Call) -> None:
    model = _named(call)
    if model is not None:
        call.answer({"id": model.id, "endpoints": []})


async def video_models(call: Call) -> None:
    found = [model for model in MODELS if model.kind == "video"]
    call.answer(
        {
            "data": [
                {
                    "id": model.id,
                    "canonical_slug": model.id,
                    "hugging_face_id": None,
                    "name": model.name,
                    "created": CREATED,
                    "description": f"{model.name}, as the simulator plays it.",
                    "allowed_passthrough_parameters": [],
                    "creativity": None,
                    "generate_audio": True,
                    "seed": True,
                    "supported_aspect_ratios": ["16:9", "9:16"],
                    "supported_durations": [4, 6, 8],
                    "supported_frame_images": ["first_frame", "last_frame"],
                    "supported_resolutions": ["720p", "1080p"],
                    "supported_sizes": None,
                    "upscale_factor": None,
                    "pricing_skus": {"duration_seconds": price(model.request_nano)},
                }
                for model in found
            ]
        }
    )


async def providers(call: Call) -> None:
    names = sorted({model.provider for model in MODELS})
    call.answer(
        {
            "data": [
                {
                    "name": name,
                    "slug": _slug(name),
                    "privacy_policy_url": f"{_SITES[name]}/privacy" if name in _SITES else None,
                    "terms_of_service_url": f"{_SITES[name]}/terms" if name in _SITES else None,
                    "status_page_url": None,
                    "headquarters": "US",
                    "datacenters": ["US"],
                }
                for name in names
            ]
        }
    )


async def zdr_endpoints(call: Call) -> None:
    call.answer({"data": [_endpoint(model) for model in MODELS if model.zdr]})
