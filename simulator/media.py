"""Pictures, speech and transcripts. Small, but real enough for players and decoders to take them."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from typing import Any

from simulator.admission import Admitted, Order, admit, bill, conclude, settled
from simulator.catalogue import cost_nano
from simulator.chat import DONE, data, model_of
from simulator.delivery import broken_head, comments
from simulator.faults import Fault, Manner
from simulator.ledger import Generation
from simulator.money import usd
from simulator.multipart import parts
from simulator.text import prose, split, tokens_in
from simulator.world import BadBody, Call

_IMAGE_TOKENS = 1290  # what one picture counts for on the way out
_BYTES_PER_SECOND = 16_000  # of audio
_MP3_FRAME = b"\xff\xfb\x90\x64" + b"\x00" * 413
_FRAMES_PER_TOKEN = 6
_ERRORS = frozenset({Manner.BODY, Manner.FIRST_EVENT, Manner.FINISH, Manner.MID_EVENT})


def png(seed: str, side: int = 16) -> bytes:
    """A valid picture in one colour that depends on the prompt."""
    colour = zlib.crc32(seed.encode()).to_bytes(4, "big")[:3]
    rows = (b"\x00" + colour * side) * side

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _image_usage(row: Generation) -> dict[str, Any]:
    model, prompt, completion = row.model, row.prompt_tokens, row.completion_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "cost": usd(cost_nano(model, prompt, completion)),
        "is_byok": False,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "image_tokens": completion, "audio_tokens": 0},
        "cost_details": {
            "upstream_inference_cost": usd(cost_nano(model, prompt, completion)),
            "upstream_inference_prompt_cost": usd(cost_nano(model, prompt, 0)),
            "upstream_inference_completions_cost": usd(cost_nano(model, 0, completion, 0)),
        },
    }


async def images(call: Call) -> None:
    """POST /images, whole or with partial pictures on the way."""
    body = call.body
    prompt, count = body.get("prompt"), body.get("n", 1)
    if not isinstance(prompt, str):
        raise BadBody("prompt: expected a string")
    if not isinstance(count, int) or not 1 <= count <= 10:
        raise BadBody("n: expected 1 to 10")
    order = Order(model_of(body), "image", tokens_in(prompt), _IMAGE_TOKENS * count, stream=body.get("stream") is True)
    admitted = await admit(call, order)
    with settled(call, admitted) as row:
        pictures = [base64.b64encode(png(f"{prompt}{index}")).decode() for index in range(count)]
        if order.stream:
            await _streamed_images(call, admitted, pictures)
            return
        await call.exchange.sleep(call.world.settings.first_token_ms / 1000)
        row.completion_tokens = _IMAGE_TOKENS * count
        found = [{"b64_json": picture, "media_type": "image/png"} for picture in pictures]
        answer = {"created": int(row.created_at), "data": found, "usage": _image_usage(row)}
        await conclude(call, admitted, answer)


async def _streamed_images(call: Call, admitted: Admitted, pictures: list[str]) -> None:
    row, fault, exchange = admitted.generation, admitted.fault, call.exchange
    if await broken_head(call, fault, "text/event-stream", row.id):
        return
    await comments(call, call.world.settings.first_token_ms / 1000)
    partial = {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": pictures[0][:64]}
    if fault is None or fault.manner not in {Manner.BODY, Manner.FIRST_EVENT}:
        exchange.write(data(partial))
        await exchange.drain()
    if fault is not None and fault.manner in _ERRORS:
        exchange.write(_image_error(fault))
        exchange.end()
        return
    if fault is not None and fault.manner in {Manner.CUT, Manner.HALF}:
        exchange.cut()
        return
    await exchange.sleep(0)
    row.completion_tokens = _IMAGE_TOKENS * len(pictures)
    bill(call, admitted)
    done = {"type": "image_generation.completed", "created": int(row.created_at), "media_type": "image/png"}
    for picture in pictures:
        exchange.write(data({**done, "b64_json": picture, "usage": _image_usage(row)}))
        await exchange.drain()
    exchange.write(DONE)
    exchange.end()


def _image_error(fault: Fault) -> bytes:
    error = {"message": fault.message, "type": fault.error_type or None, "param": None, "code": str(fault.status)}
    return data({"type": "error", "error": error})


async def speech(call: Call) -> None:
    """POST /audio/speech: bytes as they are made, and no usage. Once audio has left, all of the input is billed."""
    body = call.body
    text = body.get("input")
    if not isinstance(text, str) or not text:
        raise BadBody("input: expected a string")
    tokens = tokens_in(text)
    admitted = await admit(call, Order(model_of(body), "speech", tokens, stream=True))
    exchange, settings = call.exchange, call.world.settings
    with settled(call, admitted) as row:
        fault = admitted.fault
        if fault is not None and fault.manner in _ERRORS:
            await conclude(call, admitted, {})
            return
        kind = "audio/pcm" if body.get("response_format") == "pcm" else "audio/mpeg"
        await exchange.sleep(settings.first_token_ms / 1000)
        if await broken_head(call, fault, kind, row.id):
            return
        frame = b"\x00\x01" * 208 if kind == "audio/pcm" else _MP3_FRAME
        for index in range(tokens):
            exchange.write(frame * _FRAMES_PER_TOKEN)
            await exchange.drain()
            if fault is not None and fault.manner in {Manner.CUT, Manner.HALF} and index * 2 >= tokens - 1:
                bill(call, admitted)
                exchange.cut()
                return
            await exchange.sleep(1 / settings.tokens_per_s if settings.tokens_per_s > 0 else 0)
        bill(call, admitted)
        exchange.end()


async def transcriptions(call: Call) -> None:
    """POST /audio/transcriptions, from JSON with base64 or from a form."""
    kind = call.request.header("content-type") or ""
    if kind.startswith("multipart/form-data"):
        form = parts(kind, call.request.body)
        if "file" not in form or "model" not in form:
            raise BadBody("file and model are required")
        name, audio = form["model"].text, form["file"].content
        verbose = "response_format" in form and form["response_format"].text == "verbose_json"
    else:
        name, audio, verbose = model_of(call.body), _audio(call.body.get("input_audio")), False
    seconds = max(1, -(-len(audio) // _BYTES_PER_SECOND))
    admitted = await admit(call, Order(name, "transcription", units=seconds))
    with settled(call, admitted):
        await call.exchange.sleep(call.world.settings.first_token_ms / 1000)
        text = "".join(prose(f"{len(audio)} bytes of sound", 12))
        written = len(split(text))
        cost = usd(cost_nano(admitted.model, 0, 0, seconds))
        usage = {"seconds": seconds, "input_tokens": 0, "output_tokens": written, "total_tokens": written, "cost": cost}
        answer: dict[str, Any] = {"text": text, "usage": usage}
        if verbose:
            segment = {"id": 0, "start": 0, "end": seconds, "text": text}
            answer |= {"task": "transcribe", "language": "en", "duration": seconds, "segments": [segment]}
        await conclude(call, admitted, answer)


def _audio(given: Any) -> bytes:
    encoded = given.get("data") if isinstance(given, dict) else None
    if not isinstance(encoded, str):
        raise BadBody("input_audio.data: expected base64")
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise BadBody("input_audio.data: expected base64") from error
