"""One function for each parser: bytes in, and an AssertionError, or any other exception, for what must never be."""

from __future__ import annotations

import contextlib
import json
import posixpath
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

import httptools
import msgspec

from app.cli.output import CommandFailed
from app.cli.secret_input import decode
from app.core.errors import GatewayError
from app.core.security import OPENROUTER_KEY_RE, ClientKeyring, KeyRing, SealBroken, redact, redact_bytes, version_of
from app.middleware.cookies import read_cookie
from app.middleware.targets import holds_secret, host_is_listed, host_is_sound, path_fault, query_fault
from app.models.limits import Injection, Terms
from app.models.usage import Usage
from app.services.addresses import Networks, client_address
from app.services.ask import Ask, opening_messages, read_ask, read_json
from app.services.cleaning import Cleaner, JsonCleaner, SseCleaner, without_account
from app.services.credentials import Refusal, credential, refusal_error, usual_key
from app.services.inject import Injector, with_max_tokens
from app.services.judge import judge_status
from app.services.key_import import ImportOutcome, candidates
from app.services.litellm_files import Exports, NotLiteLlm, flag, number, words
from app.services.management_api import _seconds as management_wait
from app.services.object_ids import EventWatch, WholeWatch, objects_in
from app.services.opening import JsonOpening, NoOpening, Opening, SseOpening, Word
from app.services.settle_records import Closed, Named, Sent, Unpriced, closed_in, entry_of, open_calls, packed, unpacked
from app.services.splice import DoubledMemberError, edited, item_places, members, places, with_members, without_members
from app.services.sse import JsonScanner, SseScanner
from app.services.upstream_error import UpstreamError, error_in_event, read_error
from app.services.usage import figures_in, merged, tokens_charged, usage_in, usage_of, usage_of_generation, usage_of_job
from app.services.wire import REQUEST_DENIED, RESPONSE_DENIED, request_headers, response_headers
from app.services.yaml_reading import MappingNode, Reader
from app.transport.errors import ProtocolError
from app.transport.request import HeadWriter
from tests.fuzz import driven as driven  # adds its own
from tests.fuzz.pieces import TARGETS as TARGETS
from tests.fuzz.pieces import cut, pairs_of, refused, target

_NOW_S: Final = 1_790_000_000.0
_DAY_S: Final = 86_400.0
_MOST_NANO: Final = 1000 * 1_000_000_000


def parsed(text: bytes) -> Any:
    """What a strict JSON parser reads; raises ValueError."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise ValueError from None


class _DoubledError(Exception):
    pass


def second_opinion(text: bytes) -> Any:
    """The same value from another parser. Raises _DoubledError where an object has a member twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise _DoubledError
        return dict(pairs)

    return json.loads(text, object_pairs_hook=once)


# --- answers of upstream


@target
def sse(data: bytes) -> None:
    """Pieces make no difference to what is found, and what goes to the client is what came."""
    text, pieces = cut(data)
    whole, piecemeal = SseScanner(), SseScanner()
    whole.feed(text)
    for piece in pieces:
        piecemeal.feed(piece)
    assert (whole.usage, whole.finished, whole.between_events) == (
        piecemeal.usage,
        piecemeal.finished,
        piecemeal.between_events,
    )
    _sound(whole.usage)
    scanner = JsonScanner()
    for piece in pieces:
        scanner.feed(piece)
    assert scanner.usage == usage_in(text)


@target
def opening(data: bytes) -> None:
    """Once decided, in whatever pieces it came, an opening was held back only for as long as nothing was said."""
    text, pieces = cut(data)
    for make in (SseOpening, JsonOpening, NoOpening):
        listener: Opening = make()
        word = Word.HOLD
        for piece in pieces:
            word = listener.feed(piece, _NOW_S)
            if word is not Word.HOLD:
                break
        if word is Word.FAILED and listener.error is not None:
            _sound_error(listener.error)
        if listener.error is not None:
            assert word is Word.FAILED
        if word is Word.HOLD and text:
            assert listener.__class__().feed(text, _NOW_S) is Word.HOLD


def _cleaned(cleaner: Cleaner, pieces: list[bytes]) -> bytes:
    return b"".join([cleaner.feed(piece) for piece in pieces] + [cleaner.rest()])


@target
def cleaning(data: bytes) -> None:
    """No account and no key leaves with an error; what is no error leaves as it came."""
    text, pieces = cut(data)
    for make in (SseCleaner, JsonCleaner):
        clean = _cleaned(make(), pieces)
        if b'"error"' not in text and b'"user_id"' not in text:
            assert clean == text
        assert len(clean) <= len(text)
    try:
        value = parsed(text)
        second_opinion(text)
    except (ValueError, _DoubledError, RecursionError):
        without_account(text)
        return
    if isinstance(value, dict):
        clean = without_account(text)
        kept = {name: one for name, one in value.items() if name != "user_id"}
        if b"sk-or-" not in text and b"\\u" not in text:
            assert parsed(clean) == kept


@target
def object_ids(data: bytes) -> None:
    """Only sound ids are named, each once, and in whatever pieces the answer comes."""
    text, pieces = cut(data)
    for make in (EventWatch, WholeWatch):
        whole, piecemeal = make(), make()
        at_once = (*whole.feed(text), *whole.rest())
        found = [one for piece in pieces for one in piecemeal.feed(piece)]
        found += piecemeal.rest()
        assert tuple(found) == at_once
        assert len(set(found)) == len(found) <= 100
        assert all(one.id and one.id.isprintable() and " " not in one.id for one in found)
    objects_in(text)


def _sound(usage: Usage | None, times: int = 1) -> None:
    if usage is None:
        return
    most = 1_000_000_000 * times
    for count in (
        usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens,
        usage.audio_tokens, usage.image_tokens,
    ):  # fmt: skip
        assert type(count) is int
        assert 0 <= count <= 3 * most
    assert usage.cached_tokens <= usage.input_tokens
    assert usage.cache_write_tokens <= usage.input_tokens
    assert usage.reasoning_tokens <= usage.output_tokens
    for amount in (usage.cost_nano, usage.upstream_nano):
        assert amount is None or (type(amount) is int and 0 <= amount <= _MOST_NANO * times)
    assert all(count >= 0 for count in tokens_charged(usage, 10, 10))
    assert msgspec.json.decode(msgspec.json.encode(usage), type=Usage) == usage


@target
def usage(data: bytes) -> None:
    """Figures that can be true, from any text; and of the outermost object, whatever stands deeper down."""
    _sound(usage_in(data))
    _sound(usage_of_job(data), 1000)
    _sound(usage_of_generation(data))
    found = figures_in(data)
    if found is not None:
        before = figures_in(data[: len(data) // 2]) or found
        _sound(usage_of(merged(before, found)))
        assert merged(found, found).flags == found.flags
    with contextlib.suppress(ValueError, _DoubledError, RecursionError, InvalidOperation):
        value = second_opinion(data)
        parsed(data)
        if isinstance(value, dict) and isinstance(value.get("usage"), dict):
            assert found is not None
            assert found.said.keys() == value["usage"].keys()


def _sound_error(error: UpstreamError) -> None:
    assert 400 <= error.status < 600
    assert len(error.message) <= 500
    assert error.message not in repr(error) or len(error.message) < 8
    assert error.retry_after_s is None or 0 <= error.retry_after_s <= _DAY_S
    assert error.reset_at_s is None or _NOW_S < error.reset_at_s <= _NOW_S + 33 * _DAY_S
    assert all(400 <= status < 600 for status in error.previous)


@target
def upstream_error(data: bytes) -> None:
    """Some error with a status and times that can be true; of a bad status always one."""
    status = (200, 400, 402, 429, 500, 503)[data[0] % 6] if data else 200
    head, _, body = data[1:].partition(b"\n\n")
    for content in (body, data[1:]):
        error = read_error(status, pairs_of(head), content, _NOW_S)
        if error is not None:
            _sound_error(error)
            assert error.http_status == status
        assert status < 400 or error is not None
    if (error := error_in_event(data[1:], _NOW_S)) is not None:
        _sound_error(error)


@target
def retry_after(data: bytes) -> None:
    """A wait that somebody can wait, or none."""
    for headers in ([(b"retry-after", data)], [(b"x-ratelimit-reset", data)]):
        error = read_error(429, headers, b"{}", _NOW_S)
        assert error is not None
        _sound_error(error)
    body = msgspec.json.encode(
        {"error": {"code": 429, "metadata": {"headers": {"Retry-After": data.decode("latin-1")}}}}
    )
    error = read_error(429, (), body, _NOW_S)
    assert error is not None
    _sound_error(error)
    assert 0 <= judge_status(429, data).rest_s <= 300
    wait_s = management_wait(data.decode("utf-8", "replace"))
    assert wait_s is None or (isfinite(wait_s) and wait_s >= 0)


# --- bodies of clients


def _ask(data: bytes) -> Ask | None:
    try:
        return read_ask(data)
    except GatewayError as error:
        refused(error, 400)
        return None


@target
def ask(data: bytes) -> None:
    """Refused with a 400, or read as any other parser reads it."""
    try:
        value = read_json(data)
    except GatewayError as error:
        refused(error, 400)
    else:
        assert json.loads(data) == value
    found = _ask(data)
    if found is None:
        return
    opening_messages(found)
    assert found.whole == value
    assert found.max_tokens is None or 0 <= found.max_tokens < 2**63
    names: list[str] = []
    outermost = json.loads(data, object_pairs_hook=lambda pairs: _names_into(names, pairs))
    for name in ("model", "models", "stream", "session_id", "user", "max_tokens", "provider", "tools", "fallbacks"):
        assert names.count(name) <= 1
    if outermost.get("model") is not None:
        assert outermost["model"] == found.model
    if outermost.get("stream") is not None:
        assert outermost["stream"] is found.stream


def _names_into(names: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The last object that ends is the outermost one."""
    names[:] = [name for name, _ in pairs]
    return dict(pairs)


@target
def splice(data: bytes) -> None:
    """Places hold what they name, and an edit changes one value and not one byte beside it."""
    list(members(data))
    try:
        value = parsed(data)
    except ValueError:
        return
    if isinstance(value, list):
        where = item_places(data)
        assert [parsed(data[place.start : place.end]) for place in where] == value
        assert parsed(edited(data, [(place, b"0") for place in where])) == [0] * len(value)
    if not isinstance(value, dict):
        return
    names: list[str] = []
    json.loads(data, object_pairs_hook=lambda pairs: _names_into(names, pairs))
    try:
        found = places(data)
    except DoubledMemberError:
        assert len(set(names)) < len(names)
        return
    assert len(set(names)) == len(names)
    assert [name for name, _ in found.items()] == names
    for name, place in found.items():
        assert parsed(data[place.start : place.end]) == value[name]
    assert [data[one.value_start : one.end].strip() for one in members(data)] == [
        data[place.start : place.end] for place in found.values()
    ]
    new = dict.fromkeys([*names[:2], "another"], b'"new"')
    with contextlib.suppress(DoubledMemberError):
        assert parsed(with_members(data, new, value.keys())) == value | dict.fromkeys(new, "new")
        assert parsed(with_members(data, {"another": b"1"}, value.keys())) == value | {"another": 1}
    if names:
        raw_name = next(iter(members(data))).raw_name
        gone = parsed(without_members(data, {raw_name}))
        assert gone == {name: one for name, one in value.items() if name != json.loads(raw_name)}


_WRITES: Final = (
    Injection(field="user", value='"house"', enforced=True),
    Injection(field="temperature", value="0.5"),
    Injection(field="provider.order", value='["a","b"]', enforced=True),
    Injection(field="provider.zdr", value="true"),
    Injection(field="header:x-title", value='"House"', enforced=True),
)
_INJECTOR: Final = Injector([Terms(injections=_WRITES)])


@target
def inject(data: bytes) -> None:
    """What is written stands in the body as every parser reads it, and nothing else has changed."""
    found = _ask(data)
    if found is None:
        return
    value = found.whole
    with contextlib.suppress(DoubledMemberError):
        new, written = _INJECTOR.members(data, value, "chat/completions")
        body = with_members(data, new, value.keys())
        read = json.loads(body)
        assert read["user"] == "house"
        assert read["provider"]["order"] == ["a", "b"]
        assert len(written) >= 2
        for name in value.keys() - new.keys():
            assert read[name] == value[name]
    for route in ("chat/completions", "responses", "embeddings"):
        try:
            limited = json.loads(with_max_tokens(data, value, route, 7))
        except GatewayError as error:
            refused(error, 400, 402)
        else:
            limits = [limited.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
            assert [limit for limit in limits if limit is not None]
            assert all(limit is None or limit <= 7 for limit in limits)


# --- heads of requests


@target
def targets(data: bytes) -> None:
    """A path, query or Host that passes means one thing only."""
    if not path_fault(data):
        assert data.startswith(b"/")
        assert not data.startswith(b"//")
        assert data.isascii()
        plain = unquote_to_bytes(data)
        plain.decode()
        assert unquote_to_bytes(plain) == plain
        assert posixpath.normpath(plain.decode()).rstrip("/") == plain.decode().rstrip("/")
        assert httptools.parse_url(data).path == data
    if not query_fault(data):
        assert not set(data) & set(b" \t\r\n\0")
    if holds_secret(data):
        assert re.search(rb"gw_live_|sk-or-", unquote_to_bytes(data) + data)
    if host_is_sound(data):
        text = data.decode("ascii")
        parts = urlsplit(f"http://{text}/x")
        assert (parts.netloc, parts.path, parts.username) == (text, "/x", None)
        assert parts.port is None or 1 <= parts.port <= 65535
        assert host_is_listed(data, ("*",))
        assert host_is_listed(data, (text.lower(),))
        assert not host_is_listed(data, ("no.such.name",)) or text.lower().startswith("no.such.name")


@target
def credentials(data: bytes) -> None:
    """One well-formed key that was really sent, or a reason; never two keys."""
    sent = [pair for pair in pairs_of(data) if pair[0] in (b"authorization", b"x-api-key", b"api-key")]
    found = credential(sent, ClientKeyring.well_formed)
    if isinstance(found, Refusal):
        assert refusal_error(found).status in (400, 401)
    else:
        assert ClientKeyring.well_formed(found)
        assert found in data
        text = data.decode("latin-1")
        assert found.decode() not in redact(text)
        assert found not in redact_bytes(data)
    for name, value in sent:
        if (key := usual_key(name, value)) is not None and ClientKeyring.well_formed(key) and len(sent) == 1:
            assert credential(sent, ClientKeyring.well_formed) == key


class _Head:
    """What a parser that is not ours reads from a head."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.messages = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_message_begin(self) -> None:
        self.messages += 1


def before_sending(error: ProtocolError) -> None:
    assert not error.sent


@target
def request_head(data: bytes) -> None:
    """Refused, or read by the parser at the other end as it was meant: one request, these headers, this length."""
    method, _, rest = data.partition(b" ")
    path, _, lines = rest.partition(b"\n")
    sent = [(name.strip(), value) for name, _, value in (line.partition(b":") for line in lines.split(b"\n") if line)]
    try:
        text = HeadWriter(b"openrouter.test").write(method, path, sent, 3)
    except ProtocolError as error:
        before_sending(error)
        return
    head = _Head()
    parser = httptools.HttpRequestParser(head)
    try:
        parser.feed_data(text + b"abc")
    except httptools.HttpParserInvalidMethodError:
        return  # a method that only this parser does not know
    except httptools.HttpParserError:
        assert any(set(value) - set(range(32, 256)) - {9} for _, value in sent)
        return
    assert head.messages == 1
    assert head.url == path
    theirs = [(name, value.strip(b" \t")) for name, value in head.headers]
    ours = [(name, value.strip(b" \t")) for name, value in sent]
    assert theirs == [(b"host", b"openrouter.test"), *ours, (b"content-length", b"3")]


@target
def wire(data: bytes) -> None:
    """Nothing that is denied crosses, and nothing crosses that was not sent."""
    received = pairs_of(data)
    up, down = request_headers(received), response_headers(received)
    assert up[-1] == (b"accept-encoding", b"identity")
    assert not {name for name, _ in up} & (REQUEST_DENIED - {b"accept-encoding"})
    assert not {name for name, _ in down} & RESPONSE_DENIED
    for crossed in (up, down):
        assert all(pair in received for pair in crossed if pair[0] != b"accept-encoding")


@target
def addresses(data: bytes) -> None:
    """An address that nobody but a trusted proxy can choose, or the nearest one that is known."""
    peer, _, rest = data.decode("latin-1").partition("\n")
    forwarded = [line.encode("latin-1") for line in rest.split("\n")]
    trusted = Networks(["10.0.0.0/8", "fd00::/8"])
    assert client_address("192.0.2.1", forwarded, trusted) == "192.0.2.1"
    for found in (client_address(peer, forwarded, trusted), client_address("10.0.0.1", forwarded, trusted)):
        assert not found or Networks([found])


@target
def cookies(data: bytes) -> None:
    """A value that stands alone under its name, or none."""
    for secure in (True, False):
        value = read_cookie({"headers": [(b"cookie", data)]}, "session", secure=secure)
        assert re.fullmatch(r"[A-Za-z0-9._~-]{0,512}", value)
        name = "__Host-session" if secure else "session"
        assert not value or f"{name}={value}".encode() in data


# --- what people hand in


@target
def key_import(data: bytes) -> None:
    """Each line of a file has one fate, and no report shows a key."""
    try:
        text = decode(data)
    except CommandFailed:
        assert len(data) > 16 * 1024 * 1024
        return
    known: set[str] = set()
    for one in candidates(text):
        assert 1 <= one.number <= len(re.split(r"\r\n|\r|\n", text))
        if one.outcome is ImportOutcome.INVALID:
            assert one.masked == ""
            continue
        assert OPENROUTER_KEY_RE.fullmatch(one.key)
        assert one.key not in repr(one)
        assert len(one.key) < 20 or one.key not in one.masked
        assert (one.outcome is ImportOutcome.DUPLICATE) == (one.key in known)
        known.add(one.key)


def with_reason(error: NotLiteLlm) -> None:
    assert str(error)


@target
def litellm(data: bytes) -> None:
    """Rows, or a sentence that says why not."""
    found = Exports()
    try:
        found.take(data.decode("utf-8", "replace"))
    except NotLiteLlm as error:
        with_reason(error)
        return
    for row in (*found.keys, *found.teams):
        assert isinstance(row, Mapping)
        for value in row.values():
            read = number(value)
            assert read is None or (isinstance(read, Decimal) and read.is_finite())
            flag(value)
            words(value)
    assert found.more >= 0


@target
def yaml_file(data: bytes) -> None:
    """Each fault with its line; what has a fault reads as None."""
    text = data.decode("utf-8", "replace")
    reader = Reader()
    root = reader.root(text)
    assert (root is None) == bool(reader.faults)
    if root is not None:
        _walk(reader, root, 0)
    lines = text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + text.count("\u2029") + 2
    assert all(1 <= fault.line <= lines and fault.said for fault in reader.faults)


def _walk(reader: Reader, node: MappingNode, depth: int) -> None:
    known = [str(key.value) for key, _ in node.value if isinstance(key.value, str)][:20]
    for name, value in reader.members(node, "it", known).items():
        before = len(reader.faults)
        for read in (reader.text, reader.number, reader.whole, reader.flag, reader.plain):
            found = read(value, name)
            assert found is not None or len(reader.faults) > before or value.tag.endswith(":null")
        with contextlib.suppress(ValueError):
            msgspec.json.encode(reader.plain(value, name))
        reader.items(value, name)
        if isinstance(value, MappingNode) and depth < 5:
            _walk(reader, value, depth + 1)


@target
def seals(data: bytes) -> None:
    """What was not sealed here does not open, and nothing but that is said of it."""
    ring = KeyRing({1: b"k" * 32, 0: b"l" * 32})
    text = data.decode("utf-8", "replace")
    version_of(text)
    for sealed in (text, f"v1.1.{text}"):
        try:
            ring.unseal(sealed, context="test")
        except SealBroken:
            continue
        raise AssertionError("it opened")


# --- what the gateway wrote itself, after a crash


@target
def settle_records(data: bytes) -> None:
    """None, or a record that packs into what unpacks to it again."""
    texts = [b"S" + data, b"N" + data, b"U" + data, b"C" + data, b"E" + data, data, *data.split(b"\n\n")]
    for text in texts:
        record = unpacked(text)
        assert isinstance(record, Sent | Named | Unpriced | Closed | None)
        closed_in(text)
        if record is not None:
            again = unpacked(packed(record))
            assert again is not None
            if len(text) < 4096:
                assert _comparable(again) == _comparable(record)
        if isinstance(record, Closed | Unpriced):
            entry_of(record)
    for call in open_calls("0" * 16, texts):
        assert call.entry.id


def _comparable(record: Sent | Named | Unpriced | Closed) -> list[str]:
    """As text, because NaN is not equal to itself."""
    values = (getattr(record, name) for name in record.__struct_fields__)
    return [repr(bytes(one) if isinstance(one, msgspec.Raw) else one) for one in values]
