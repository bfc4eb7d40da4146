from __future__ import annotations

import pytest

from app.core.redis_url import RedisForm, RedisUrl, RedisUrlError, parse_redis_url

SINGLE, SENTINEL, CLUSTER = RedisForm.SINGLE, RedisForm.SENTINEL, RedisForm.CLUSTER


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("redis://cache", RedisUrl(SINGLE, (("cache", 6379),))),
        ("redis://cache:7000/3", RedisUrl(SINGLE, (("cache", 7000),), database=3)),
        ("redis://:p%40ss@cache/", RedisUrl(SINGLE, (("cache", 6379),), password="p@ss")),
        ("redis://me:pw@[::1]:1/0", RedisUrl(SINGLE, (("::1", 1),), username="me", password="pw")),
        ("rediss://cache", RedisUrl(SINGLE, (("cache", 6379),), tls=True)),
        ("unix:///run/a%20b.sock", RedisUrl(SINGLE, path="/run/a b.sock")),
        ("unix://:pw@/run/r.sock?db=2", RedisUrl(SINGLE, path="/run/r.sock", database=2, password="pw")),
        ("redis+sentinel://a,b:27000/mymaster", RedisUrl(SENTINEL, (("a", 26379), ("b", 27000)), service="mymaster")),
        (
            "rediss+sentinel://:pw@a:1/main/4",
            RedisUrl(SENTINEL, (("a", 1),), tls=True, database=4, service="main", password="pw"),
        ),
        ("redis+cluster://a:7000,b:7001", RedisUrl(CLUSTER, (("a", 7000), ("b", 7001)))),
        ("rediss+cluster://a/0", RedisUrl(CLUSTER, (("a", 6379),), tls=True)),
    ],
)
def test_forms(url: str, parsed: RedisUrl) -> None:
    """Each form is read to the same facts."""
    assert parse_redis_url(url) == parsed


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "must begin"),
        ("http://cache", "must begin"),
        ("cache:6379", "must begin"),
        ("redis://", "host or port"),
        ("redis://cache:0", "1 to 65535"),
        ("redis://cache:70000", "1 to 65535"),
        ("redis://cache:x", "host or port"),
        ("redis://a,b", "several hosts"),
        ("redis://cache/one", "small number"),
        ("redis://cache/0/1", "/database only"),
        ("redis://cache?db=1", "?options"),
        ("redis://:a#b@cache", "fragment"),
        ("redis://ca che", "space"),
        ("redis://[::1", "not a URL"),
        ("redis+sentinel://a", "name-of-the-master"),
        ("redis+sentinel://a/m/0/x", "name-of-the-master"),
        ("redis+cluster://a/1", "only number 0"),
        ("redis+cluster://a,,b", "host or port"),
        ("unix://run/r.sock", "absolute"),
        ("unix:///", "absolute"),
        ("unix:///r.sock?timeout=3", "option"),
    ],
)
def test_refusals(url: str, sentence: str) -> None:
    """What is wrong is said in words."""
    with pytest.raises(RedisUrlError, match=sentence.replace("?", r"\?")):
        parse_redis_url(url)


@pytest.mark.parametrize("url", ["redis://:canary@a,b", "redis://:canary#@a", "x://:canary@a", "redis://:canary@a/b"])
def test_no_password_in_errors_and_reprs(url: str) -> None:
    """Neither a refusal nor the repr of the facts quotes the password."""
    with pytest.raises(RedisUrlError) as refusal:
        parse_redis_url(url)

    assert "canary" not in str(refusal.value)
    assert "canary" not in repr(parse_redis_url("redis://:canary@a"))
