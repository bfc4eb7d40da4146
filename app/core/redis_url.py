"""The forms a Redis address may take, parsed to facts. Pure: knows neither the client library nor any network."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qs, unquote, urlsplit

DEFAULT_PORT = 6379
SENTINEL_PORT = 26379


class RedisForm(StrEnum):
    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """`nodes` are host and port pairs: one server, the sentinels, or some nodes of the cluster."""

    form: RedisForm
    nodes: tuple[tuple[str, int], ...] = ()
    path: str = ""
    tls: bool = False
    database: int = 0
    service: str = ""
    username: str = ""
    password: str = field(default="", repr=False)


class RedisUrlError(ValueError):
    """The address is none of the known forms. The text never quotes it: it may hold a password."""


_FORMS = {
    "redis": (RedisForm.SINGLE, False),
    "rediss": (RedisForm.SINGLE, True),
    "redis+sentinel": (RedisForm.SENTINEL, False),
    "rediss+sentinel": (RedisForm.SENTINEL, True),
    "redis+cluster": (RedisForm.CLUSTER, False),
    "rediss+cluster": (RedisForm.CLUSTER, True),
}
_NODE = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>\d{1,5}))?")


def parse_redis_url(url: str) -> RedisUrl:
    """Raises RedisUrlError with a sentence that says what is wrong and what is allowed."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise RedisUrlError("is not a URL") from None
    if parts.fragment or re.search(r"[\s\x00-\x1f]", url):
        raise RedisUrlError("must hold no fragment, space or control character (write # in a password as %23)")
    userinfo, _, hosts = parts.netloc.rpartition("@")
    username, _, password = (unquote(part) for part in userinfo.partition(":"))
    if parts.scheme == "unix":
        return _unix(parts.path, parts.query, hosts, username, password)
    if parts.scheme not in _FORMS:
        raise RedisUrlError(f"must begin with unix:// or one of {', '.join(name + '://' for name in _FORMS)}")
    if parts.query:
        raise RedisUrlError("takes no ?options; the settings beside it do that")
    form, tls = _FORMS[parts.scheme]
    default_port = SENTINEL_PORT if form is RedisForm.SENTINEL else DEFAULT_PORT
    nodes = tuple(_node(text, default_port) for text in hosts.split(","))
    if form is RedisForm.SINGLE and len(nodes) != 1:
        raise RedisUrlError("names several hosts: use redis+sentinel:// or redis+cluster://")
    service, database = _path(form, parts.path)
    return RedisUrl(form, nodes, "", tls, database, service, username, password)


def _unix(path: str, query: str, hosts: str, username: str, password: str) -> RedisUrl:
    if hosts or not path.startswith("/") or path == "/":
        raise RedisUrlError("must be unix:///absolute/path/of/the.sock")
    options = parse_qs(query)
    if set(options) - {"db"}:
        raise RedisUrlError("takes no ?option but db")
    database = _database(options.get("db", ["0"])[-1])
    return RedisUrl(RedisForm.SINGLE, (), unquote(path), False, database, "", username, password)


def _node(text: str, default_port: int) -> tuple[str, int]:
    match = _NODE.fullmatch(text)
    if match is None:
        raise RedisUrlError("has a missing or malformed host or port")
    port = int(match["port"] or default_port)
    if not 0 < port < 65536:
        raise RedisUrlError("has a port outside 1 to 65535")
    return match["v6"] or match["host"], port


def _path(form: RedisForm, path: str) -> tuple[str, int]:
    words = [unquote(word) for word in path.strip("/").split("/")] if path.strip("/") else []
    if form is RedisForm.SENTINEL:
        if not 1 <= len(words) <= 2:
            raise RedisUrlError("must end in /name-of-the-master or /name-of-the-master/database")
        return words[0], _database(words[1] if len(words) == 2 else "0")
    if len(words) > 1:
        raise RedisUrlError("may end in /database only")
    database = _database(words[0] if words else "0")
    if form is RedisForm.CLUSTER and database:
        raise RedisUrlError("must not choose a database: a cluster has only number 0")
    return "", database


def _database(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text):
        raise RedisUrlError("has a database that is not a small number")
    return int(text)
