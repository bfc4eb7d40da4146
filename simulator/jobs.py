"""Videos and batches: 202 now, polled until done. Ids belong to the account or workspace that made them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from simulator.admission import Admitted, Order, admit, bill
from simulator.chat import ChatSkin, model_of, usage
from simulator.delivery import refuse
from simulator.faults import Fault, Manner
from simulator.ledger import new_tail
from simulator.messages import MessagesSkin
from simulator.money import usd
from simulator.reply import Skin, compose
from simulator.responses import ResponsesSkin
from simulator.world import PUBLIC_URL, BadBody, Call

_MISSING = Fault("404-job", "no such job for this key", 404, "Job not found", "not_found")
_UNFINISHED = Fault("409-batch", "batch still running", 409, "Batch is not in a terminal state")
_NOT_READY = Fault("400-video", "video not ready", 400, "Video is not ready yet", "invalid_request")
_MP4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + b"\x00\x00\x00\x08mdat" * 64
_SECONDS = 8
_DAY_S = 86_400
_PAGE = 20
_SKINS: dict[str, Skin] = {
    "/v1/chat/completions": ChatSkin(),
    "/v1/responses": ResponsesSkin(),
    "/v1/messages": MessagesSkin(),
}


@dataclass(slots=True)
class Job:
    """A video or a batch, done at an instant known from the start."""

    id: str
    kind: str
    owner: str  # account of a video, workspace of a batch
    admitted: Admitted
    created_at: float
    done_at: float
    failed: bool = False
    endpoint: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] | None = None


def _fails(admitted: Admitted) -> bool:
    return admitted.fault is not None and admitted.fault.manner is not Manner.SLOW


async def submit_video(call: Call) -> None:
    body = call.body
    seconds = body.get("duration", _SECONDS)
    if not isinstance(seconds, int) or not 1 <= seconds <= 60:
        raise BadBody("duration: expected seconds")
    admitted = await admit(call, Order(model_of(body), "video", units=seconds))
    now, row = call.world.now(), admitted.generation
    done_at = now + call.world.settings.job_ms / 1000
    job = Job(row.id, "video", call.key.account.id, admitted, now, done_at, failed=_fails(admitted))
    call.world.jobs[job.id] = job
    call.answer({"id": job.id, "polling_url": _polling(job), "status": "pending"}, 202)


def _polling(job: Job) -> str:
    return f"{PUBLIC_URL}/api/v1/videos/{job.id}"


def _job(call: Call, kind: str) -> Job | None:
    job = call.world.jobs.get(call.args[0])
    owner = call.key.account.id if kind == "video" else call.key.workspace_id
    if job is None or job.kind != kind or job.owner != owner:
        refuse(call, _MISSING)
        return None
    return job if isinstance(job, Job) else None


async def video(call: Call) -> None:
    """GET /videos/{id}: billed when it is first seen to be done."""
    job = _job(call, "video")
    if job is None:
        return
    now, row = call.world.now(), job.admitted.generation
    answer: dict[str, Any] = {"id": job.id, "generation_id": row.id, "polling_url": _polling(job)}
    if now < job.done_at:
        answer["status"] = "pending" if now < (job.created_at + job.done_at) / 2 else "in_progress"
    elif job.failed:
        call.world.ledger.settle(row, now, failed=True)
        fault = job.admitted.fault
        answer |= {"status": "failed", "error": fault.message if fault else "failed"}
    else:
        bill(call, job.admitted)
        answer |= {
            "status": "completed",
            "unsigned_urls": [f"{_polling(job)}/content?index=0"],
            "usage": {"cost": usd(row.cost_nano), "is_byok": False},
        }
    call.answer(answer)


async def video_content(call: Call) -> None:
    job = _job(call, "video")
    if job is None:
        return
    if call.world.now() < job.done_at or job.failed:
        refuse(call, _NOT_READY)
        return
    call.exchange.answer(200, call.world.headers("video/mp4"), _MP4)


async def submit_batch(call: Call) -> None:
    """POST /batches. As upstream, `endpoint` and `model` must stand before `requests` in the body."""
    body = call.body
    order = list(body)
    names = ("endpoint", "model", "requests")
    if any(name not in body for name in names) or order.index("requests") < max(map(order.index, names[:2])):
        raise BadBody("endpoint and model are required and must precede requests")
    requests = body["requests"]
    if body["endpoint"] not in _SKINS or not isinstance(requests, list) or not requests:
        raise BadBody("endpoint or requests not supported")
    if not all(isinstance(one, dict) and isinstance(one.get("body"), dict) for one in requests):
        raise BadBody("requests: each needs a custom_id and a body")
    tokens = len(call.request.body) // 4
    name = model_of(body).removesuffix(":batch")
    admitted = await admit(call, Order(name, "chat", tokens, max_tokens=1, id_kind="batch"))
    now = call.world.now()
    done_at = now + call.world.settings.job_ms / 1000
    job = Job(f"batch_{new_tail(24)}", "batch", call.key.workspace_id, admitted, now, done_at, failed=_fails(admitted))
    job.endpoint, job.requests = body["endpoint"], requests
    call.world.jobs[job.id] = job
    call.answer(_batch(job, call, with_results=False), 202)


def _run(call: Call, job: Job) -> None:
    """Answers all requests of a batch at once, on one row of the bill."""
    row, skin = job.admitted.generation, _SKINS[job.endpoint]
    row.prompt_tokens = 0
    job.results = []
    for index, request in enumerate(job.requests):
        response, error = None, None
        try:
            ask = skin.read({**request["body"], "model": row.model.id})
        except BadBody as bad:
            error = {"message": str(bad), "param": None, "type": "invalid_request_error"}
        else:
            reply = compose(ask, row.model, row, call.world.settings.answer_tokens)
            made = len(reply.pieces)
            reply.generation = replace(row, prompt_tokens=ask.prompt_tokens, completion_tokens=made)
            row.prompt_tokens += ask.prompt_tokens
            row.completion_tokens += made
            response = {"status_code": 200, "request_id": f"{row.id}-{index}", "body": skin.whole(reply)}
        names = {"id": f"{job.id}-{index}", "custom_id": request.get("custom_id", "")}
        job.results.append({**names, "response": response, "error": error})
    bill(call, job.admitted)


def _batch(job: Job, call: Call, *, with_results: bool) -> dict[str, Any]:
    done, row = call.world.now() >= job.done_at, job.admitted.generation
    if done and not job.failed and job.results is None:
        _run(call, job)
    if done and job.failed:
        call.world.ledger.settle(row, call.world.now(), failed=True)
    total = len(job.requests)
    finished = total if done and not job.failed else 0
    return {
        "id": job.id,
        "object": "batch",
        "endpoint": job.endpoint,
        "model": row.model.id,
        "provider": row.model.provider,
        "completion_window": "24h",
        "status": ("failed" if job.failed else "completed") if done else "in_progress",
        "created_at": int(job.created_at),
        "expires_at": int(job.created_at) + _DAY_S,
        "finalized_at": int(job.done_at) if done else None,
        "request_counts": {"total": total, "completed": finished, "failed": total if done and job.failed else 0},
        "error": {"message": "batch failed"} if done and job.failed else None,
        "results": job.results if with_results and done else None,
        "usage": usage(row) if finished else None,
    }


async def batches(call: Call) -> None:
    """GET /batches: the newest first, in pages."""
    query, workspace = call.request.query, call.key.workspace_id
    found = [job for job in call.world.jobs.values() if job.kind == "batch" and job.owner == workspace][::-1]
    ids = [job.id for job in found]
    if (after := query.get("after")) in ids:
        found = found[ids.index(after) + 1 :]
    limit = int(query["limit"]) if query.get("limit", "").isdecimal() else _PAGE
    page = [_batch(job, call, with_results=False) for job in found[:limit]]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    call.answer({"object": "list", "data": page, "has_more": len(found) > limit, **ends})


async def batch(call: Call) -> None:
    job = _job(call, "batch")
    if job is None:
        return
    if call.request.method != "DELETE":
        call.answer(_batch(job, call, with_results=True))
    elif call.world.now() < job.done_at:
        refuse(call, _UNFINISHED)
    else:
        del call.world.jobs[job.id]
        deletion = {"openrouter": "deleted", "upstream": {"provider": job.admitted.model.provider, "status": "deleted"}}
        call.answer({"id": job.id, "object": "batch", "deletion": deletion})
