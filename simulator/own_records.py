"""What a key may ask about itself: /key, /credits, /generation. Knows no administration of other keys."""

from __future__ import annotations

from typing import Any

from simulator.accounts import Key, iso, period_end
from simulator.delivery import refuse
from simulator.faults import FAULTS, Fault
from simulator.ledger import Generation
from simulator.money import usd
from simulator.world import PUBLIC_URL, Call

_NOT_FOUND = Fault("404-record", "no such record", 404, "Not found", "not_found", user_id=False)


def usages(key: Key, now: float) -> dict[str, Any]:
    """The amounts that /key and /keys have in common."""
    spent = {f"usage{suffix}": usd(key.spending.read(period, now)) for suffix, period in _WINDOWS}
    return spent | {f"byok_usage{suffix}": usd(0) for suffix, _ in _WINDOWS}


_WINDOWS = (("", None), ("_daily", "daily"), ("_weekly", "weekly"), ("_monthly", "monthly"))


def limits(key: Key, now: float) -> dict[str, Any]:
    remaining = key.limit_remaining_nano(now)
    return {
        "limit": None if key.limit_nano is None else usd(key.limit_nano),
        "limit_remaining": None if remaining is None else usd(remaining),
        "limit_reset": key.limit_reset,
        "include_byok_in_limit": key.include_byok_in_limit,
        "expires_at": iso(key.expires_at),
    }


def _budgets(key: Key, now: float) -> list[dict[str, Any]]:
    if key.limit_nano is None:
        return []
    spent = key.spending.read(key.limit_reset, now)
    return [
        {
            "scope": "key_limit",
            "limit_usd": usd(key.limit_nano),
            "spend_usd": usd(spent),
            "remaining_usd": usd(key.limit_nano - spent),
            "reset_interval": key.limit_reset,
            "resets_at": iso(period_end(key.limit_reset, now)),
            "include_byok": key.include_byok_in_limit,
            "budget_id": None,
            "guardrail_id": None,
        }
    ]


async def key_record(call: Call) -> None:
    """GET /key, and its old alias /auth/key."""
    key, now = call.key, call.world.now()
    account = key.account
    used, daily = account.free_used(now), account.free_daily_limit
    budgets = _budgets(key, now)
    call.answer(
        {
            "data": {
                "label": key.label,
                **limits(key, now),
                **usages(key, now),
                "is_free_tier": account.credits_nano == 0,
                "is_management_key": key.management,
                "is_provisioning_key": key.management,
                "creator_user_id": account.id,
                "organization_id": account.organization_id,
                "workspace_id": key.workspace_id,
                "allowed_data_regions": ["global"],
                "budgets": budgets,
                "effective_budget": budgets[0] if budgets else None,
                "free_model_daily_requests": {"used": used, "limit": daily, "remaining": max(0, daily - used)},
                "rate_limit": {
                    "requests": -1,
                    "interval": "10s",
                    "note": "This field is deprecated and safe to ignore.",
                },
            }
        }
    )


async def credits_record(call: Call) -> None:
    """GET /credits: management keys only."""
    if not call.key.management:
        refuse(call, FAULTS["403-management"])
        return
    account = call.key.account
    total, spent = usd(account.credits_nano), usd(account.spending.total_nano)
    call.answer({"data": {"total_credits": total, "total_usage": spent}})


def _visible(call: Call) -> Generation | None:
    """A record appears some time after its end, to the keys of the same account."""
    generation = call.world.ledger.generations.get(call.request.query.get("id", ""))
    if generation is None or generation.finished_at is None or generation.key.account is not call.key.account:
        return None
    visible_at = generation.finished_at + call.world.settings.generation_delay_ms / 1000
    return generation if call.world.now() >= visible_at else None


async def generation_record(call: Call) -> None:
    """GET /generation?id="""
    generation = _visible(call)
    if generation is None:
        message = f"Generation {call.request.query.get('id', '')} not found"
        call.answer({"error": {"code": 404, "message": message}}, 404)
        return
    call.answer({"data": _record(generation)})


def _record(generation: Generation) -> dict[str, Any]:
    finished = generation.finished_at or generation.created_at
    first = generation.first_token_at or finished
    finish = None if generation.cancelled else generation.finish_reason
    return {
        "id": generation.id,
        "request_id": generation.id.replace("gen-", "req-", 1),
        "upstream_id": f"chatcmpl-{generation.id[-20:]}",
        "total_cost": usd(generation.cost_nano),
        "usage": usd(generation.cost_nano),
        "upstream_inference_cost": usd(generation.cost_nano),
        "cache_discount": None,
        "created_at": iso(generation.created_at),
        "model": generation.model.id,
        "app_id": None,
        "streamed": generation.streamed,
        "cancelled": generation.cancelled,
        "provider_name": generation.model.provider,
        "latency": round((first - generation.created_at) * 1000),
        "moderation_latency": None,
        "generation_time": round((finished - first) * 1000),
        "finish_reason": finish,
        "native_finish_reason": finish,
        "tokens_prompt": generation.prompt_tokens,
        "tokens_completion": generation.completion_tokens,
        "native_tokens_prompt": generation.prompt_tokens,
        "native_tokens_completion": generation.completion_tokens,
        "native_tokens_reasoning": generation.reasoning_tokens,
        "native_tokens_cached": 0,
        "native_tokens_completion_images": 0,
        "num_media_prompt": None,
        "num_media_completion": None,
        "num_input_audio_prompt": None,
        "num_search_results": None,
        "num_fetches": None,
        "web_search_engine": None,
        "origin": f"{PUBLIC_URL}/",
        "http_referer": generation.referer,
        "user_agent": generation.user_agent,
        "is_byok": False,
        "api_type": generation.api_type,
        "router": None,
        "service_tier": None,
        "preset_id": None,
        "provider_responses": None,
        "response_cache_source_id": None,
        "data_region": "global",
        "external_user": generation.external_user,
        "session_id": generation.session_id,
        "workspace_id": generation.key.workspace_id,
    }


async def generation_content(call: Call) -> None:
    """GET /generation/content?id="""
    generation = _visible(call)
    if generation is None:
        refuse(call, _NOT_FOUND)
        return
    asked = generation.prompt if generation.prompt is not None else {"prompt": ""}
    output = {"completion": generation.completion, "reasoning": None}
    call.answer({"data": {"input": asked, "output": output, "error": None}})
