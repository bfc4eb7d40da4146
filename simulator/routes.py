"""The table of routes: which endpoint answers which method and path, and which key it asks for."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from simulator import administration, control, files, guardrails, inference, jobs, listings, media, own_records, vectors
from simulator.chat import ChatSkin, CompletionsSkin
from simulator.errors import SkinName
from simulator.messages import MessagesSkin
from simulator.reply import Skin
from simulator.responses import ResponsesSkin
from simulator.world import Call

Endpoint = Callable[[Call], Awaitable[None]]
API = "/api/v1"


@dataclass(frozen=True, slots=True)
class Route:
    """`{}` in a pattern stands for one path segment. Inference endpoints play scripted faults themselves."""

    methods: frozenset[str]
    pattern: re.Pattern[str]
    endpoint: Endpoint
    access: Literal["open", "key", "management"] = "key"
    inference: bool = False
    skin: SkinName = SkinName.CHAT


def _route(methods: str, path: str, endpoint: Endpoint, access: Literal["open", "key", "management"] = "key") -> Route:
    return Route(frozenset(methods.split()), _pattern(API + path), endpoint, access)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(path.replace("{}", "([^/]+)") + "/?")


def _costs(path: str, endpoint: Endpoint, skin: SkinName = SkinName.CHAT, prefix: str = API) -> Route:
    return Route(frozenset({"POST"}), _pattern(prefix + path), endpoint, inference=True, skin=skin)


def _text(skin: Skin) -> Endpoint:
    async def endpoint(call: Call) -> None:
        await inference.infer(call, skin)

    return endpoint


INFERENCE = (
    _costs("/chat/completions", _text(ChatSkin())),
    _costs("/cursor/chat/completions", _text(ChatSkin())),
    _costs("/completions", _text(CompletionsSkin())),
    _costs("/embeddings", vectors.embeddings),
    _costs("/rerank", vectors.rerank),
    _costs("/images", media.images),
    _costs("/audio/speech", media.speech),
    _costs("/audio/transcriptions", media.transcriptions),
    _costs("/videos", jobs.submit_video),
    _costs("/batches", jobs.submit_batch),
    _costs("/batches", jobs.submit_batch, prefix="/api/beta"),
    _costs("/responses", _text(ResponsesSkin()), SkinName.RESPONSES),
    _costs("/messages", _text(MessagesSkin()), SkinName.MESSAGES),
)
LISTINGS = (
    _route("GET", "/models", listings.models, "open"),
    _route("GET", "/models/count", listings.count, "open"),
    _route("GET", "/models/user", listings.models),
    _route("GET", "/models/{}/{}/endpoints", listings.endpoints, "open"),
    _route("GET", "/model/{}/{}", listings.model_record, "open"),
    _route("GET", "/embeddings/models", listings.embedding_models, "open"),
    _route("GET", "/images/models", listings.image_models, "open"),
    _route("GET", "/images/models/{}/{}/endpoints", listings.image_endpoints, "open"),
    _route("GET", "/videos/models", listings.video_models, "open"),
    _route("GET", "/providers", listings.providers, "open"),
    _route("GET", "/endpoints/zdr", listings.zdr_endpoints, "open"),
)
RECORDS = (
    _route("GET", "/key", own_records.key_record),
    _route("GET", "/auth/key", own_records.key_record),
    _route("GET", "/credits", own_records.credits_record),
    _route("GET", "/generation", own_records.generation_record),
    _route("GET", "/generation/content", own_records.generation_content),
)
ADMINISTRATION = (
    _route("GET POST", "/keys", administration.keys, "management"),
    _route("GET PATCH DELETE", "/keys/{}", administration.key, "management"),
    _route("GET", "/activity", administration.activity, "management"),
    _route("GET POST", "/workspaces", administration.workspaces, "management"),
    _route("GET POST", "/guardrails", guardrails.collection, "management"),
    _route("GET", "/guardrails/assignments/keys", guardrails.assignments, "management"),
    _route("GET DELETE", "/guardrails/{}", guardrails.one, "management"),
    _route("GET POST", "/guardrails/{}/assignments/keys", guardrails.keys_of, "management"),
    _route("POST", "/guardrails/{}/assignments/keys/remove", guardrails.remove, "management"),
)
STORED = (
    _route("POST", "/files", files.upload),
    _route("GET", "/files", files.listing),
    _route("GET DELETE", "/files/{}", files.one),
    _route("GET", "/files/{}/content", files.content),
    _route("GET", "/videos/{}", jobs.video),
    _route("GET", "/videos/{}/content", jobs.video_content),
    *(
        Route(frozenset(methods.split()), _pattern(f"{prefix}{path}"), endpoint)
        for prefix in (API, "/api/beta")
        for methods, path, endpoint in (("GET", "/batches", jobs.batches), ("GET DELETE", "/batches/{}", jobs.batch))
    ),
)
CONTROL = tuple(
    Route(frozenset(methods.split()), _pattern(path), endpoint, "open")
    for methods, path, endpoint in (
        ("GET", "/_sim", control.index),
        ("GET POST DELETE", "/_sim/script", control.script),
        ("GET POST", "/_sim/keys", control.keys),
        ("GET POST", "/_sim/accounts", control.accounts),
        ("GET POST", "/_sim/settings", control.settings),
        ("GET", "/_sim/bill", control.bill),
        ("GET DELETE", "/_sim/requests", control.requests),
        ("POST", "/_sim/reset", control.reset),
        ("GET", "/_sim/state", control.state),
    )
)
ROUTES: tuple[Route, ...] = (*INFERENCE, *LISTINGS, *RECORDS, *STORED, *ADMINISTRATION, *CONTROL)


def find(method: str, path: str) -> tuple[Route, tuple[str, ...]] | Literal[404, 405]:
    """The route, or the status of the page that answers instead."""
    wrong_method = False
    for route in ROUTES:
        match = route.pattern.fullmatch(path)
        if match is not None:
            if method in route.methods:
                return route, match.groups()
            wrong_method = True
    return 405 if wrong_method else 404
