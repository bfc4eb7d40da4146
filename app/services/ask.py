"""The few fields of a request body that the gateway itself depends on. Pure.

Never changes a body: it only reads it, strictly enough that no other parser can read it differently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from app.core.errors import GatewayError
from app.services.splice import DoubledMemberError, places


class Inner(msgspec.Struct, frozen=True):
    """Calls that upstream makes for this one: of a model that a tool names, or the requests of a batch. `model` is
    empty where it is the call's own; `read_bytes`: how much of the body each of them reads, None: all of it.
    """

    model: str = ""
    max_tokens: int | None = None
    read_bytes: int | None = None
    times: int = 1


class Ask(msgspec.Struct, frozen=True):
    """What a caller asks for; each field has exactly one reading. `max_tokens` stands for its two other names too, and
    `models` for the models of `fallbacks`.
    """

    model: str = ""
    models: tuple[str, ...] = ()
    preset: str = ""
    stream: bool = False
    session_id: str = ""
    prompt_cache_key: str = ""
    user: str = ""
    max_tokens: int | None = None
    said: Any = None
    """Messages, input or prompt, as they are; what they mean is upstream's business."""
    whole: dict[str, Any] = {}
    """All of the body, as it was parsed."""
    inner: tuple[Inner, ...] = ()


NOTHING_ASKED = Ask()

_decoder = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode
_LONGEST_TEXT = 1024
# A member name may hide behind escapes (`mod\u0065l`): letters, digits and underscores are all \u003x to \u007x.
_ESCAPED_ASCII = re.compile(rb"\\u00[3-7]")


def read_json(body: bytes) -> Any:
    """The value of a JSON text, strictly.

    NaN, numbers out of range, lone surrogates, bad UTF-8, a BOM, trailing text and nesting without end are refused
    with a 400 that quotes nothing of it.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise _invalid_json(error) from None


def read_ask(body: bytes) -> Ask:
    """The fields that matter of an inference body. Raises a 400 where they are of a wrong type or given twice."""
    value = read_json(body)
    if not isinstance(value, dict):
        raise GatewayError(400, "invalid_request", "The body must be a JSON object.", 'Send {"model": …} and so on.')
    told: dict[str, Any] = {}
    for name in value.keys() & _WATCHED.keys():
        spelled, read = _WATCHED[name]
        if body.count(spelled) > 1 and len(re.findall(spelled + rb"\s*:", body)) > 1:
            _refuse_doubles(body)
        if read is not None and (found := value[name]) is not None:
            told[name] = read(name, found)
    if b"\\u00" in body and _ESCAPED_ASCII.search(body):
        _refuse_doubles(body)
    if not told.keys().isdisjoint(_OTHER_LIMITS):
        limits = [told.pop(name, None) for name in ("max_tokens", *_OTHER_LIMITS)]
        told["max_tokens"] = next(limit for limit in limits if limit is not None)
    if "fallbacks" in told:
        told["models"] = (*told.get("models", ()), *told.pop("fallbacks"))
    return Ask(**told, said=value.get("messages") or value.get("input") or value.get("prompt"), whole=value)


def opening_messages(ask: Ask) -> bytes:
    """What a conversation begins with and goes on to begin with: its system message and the first one after it."""
    said = ask.said
    if isinstance(said, str):
        return said[:_LONGEST_TEXT].encode("utf-8", "surrogatepass")
    if not isinstance(said, list):
        return b""
    first = 0
    while first < min(len(said), 4) and _role(said[first]) in ("system", "developer"):
        first += 1
    return _encode(said[: first + 1])


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, dict) else None


def _refuse_doubles(body: bytes) -> None:
    try:
        places(body)
    except DoubledMemberError:
        _refuse_watched_doubles(body)


def _refuse_watched_doubles(body: bytes) -> None:
    outermost: list[tuple[str, Any]] = []

    def last_seen(pairs: list[tuple[str, Any]]) -> None:
        nonlocal outermost
        outermost = pairs

    try:
        json.loads(body, object_pairs_hook=last_seen)
    except (ValueError, RecursionError) as error:
        raise _invalid_json(error) from None
    names = [name for name, _ in outermost]
    for name in _WATCHED:
        if names.count(name) > 1:
            raise GatewayError(400, "invalid_request", f"The body has more than one `{name}`.", "Send it once.")


def _invalid_json(error: Exception) -> GatewayError:
    if isinstance(error, RecursionError):
        what = "it is nested too deeply"
    elif isinstance(error, UnicodeDecodeError):
        what = "it is not UTF-8"
    else:
        place = re.search(r"\(byte (\d+)\)", str(error))
        what = f"a parser stops at byte {place[1]}" if place else "a value in it has no JSON form"
    return GatewayError(
        400, "invalid_request", f"The body is not valid JSON: {what}.", "NaN, Infinity and 1e400 are no JSON numbers."
    )


def _text(name: str, found: Any) -> str:
    if type(found) is not str or len(found) > _LONGEST_TEXT:
        raise _wrong_type(name, "a string of at most 1024 characters")
    return found


def _hint(_: str, found: Any) -> str:
    """A text that nothing depends on: in another form it is passed on, and not understood here."""
    return found if type(found) is str and len(found) <= _LONGEST_TEXT else ""


def _texts(name: str, found: Any) -> tuple[str, ...]:
    if type(found) is not list or not all(type(item) is str for item in found):
        raise _wrong_type(name, "a list of strings")
    return tuple(found)


def _fallbacks(name: str, found: Any) -> tuple[str, ...]:
    """Names of models, or objects around them."""
    if type(found) is not list:
        raise _wrong_type(name, "a list")
    return _texts(name, [item.get("model") if type(item) is dict else item for item in found])


def _flag(name: str, found: Any) -> bool:
    if type(found) is not bool:
        raise _wrong_type(name, "true or false")
    return found


def _whole(name: str, found: Any) -> int:
    if type(found) is float and found.is_integer():
        found = int(found)
    if type(found) is not int or not 0 <= found < 2**63:
        raise _wrong_type(name, "a whole number, zero or more")
    return found


def _wrong_type(name: str, wanted: str) -> GatewayError:
    return GatewayError(400, "invalid_request", f"`{name}` must be {wanted}.", "Correct the field and send it again.")


_OTHER_LIMITS = ("max_completion_tokens", "max_output_tokens")
_FORMS: dict[Callable[[str, Any], Any], tuple[str, ...]] = {
    _text: ("model", "preset", "session_id", "user"),
    _hint: ("prompt_cache_key",),
    _texts: ("models",),
    _fallbacks: ("fallbacks",),
    _flag: ("stream",),
    _whole: ("max_tokens", *_OTHER_LIMITS),
}
# Read elsewhere, by rules that depend on there being one of each.
_READ_ELSEWHERE = ("container", "plugins", "previous_job_id", "provider", "requests", "tools")
_WATCHED: dict[str, tuple[bytes, Callable[[str, Any], Any] | None]] = {
    **{name: (f'"{name}"'.encode(), read) for read, names in _FORMS.items() for name in names},
    **{name: (f'"{name}"'.encode(), None) for name in _READ_ELSEWHERE},
}
