"""The page of one call."""

from __future__ import annotations

import re
from contextlib import closing
from html import unescape

import pytest

from app.core.redis import RedisManager
from app.panel.requests_detail import readable
from app.services.ledger import CORRECTED
from tests.gateway_process import wait_until
from tests.test_panel.conftest import OpenPage
from tests.test_panel.usage_world import USD, XSS, BooksWorld, books_world

__all__ = ["books_world"]
PATH = "/admin/requests"
SCRIPT = "<script>alert(1)</script>"


def words(text: str) -> str:
    """What people read of a page."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", text.partition("<main")[2])))


def test_a_call_is_told_whole(books_world: BooksWorld) -> None:
    """A sentence, its way over the keys, its cost, and what it was."""
    text = books_world.get(f"{PATH}/rescued")
    read = words(text)
    assert '<h1 id="call-title">Served by prod-a after burst was rate-limited.</h1>' in text
    assert "429 rate_limited after 118 ms → next key" in read
    for told in ("$0.01", "as OpenRouter reported it", "Tokens in 1,000", "Per 1k tokens $0.0090", "billing-bot"):
        assert told in read
    assert f'href="/admin/openrouter-keys/{books_world.keys[0][:16]}"' in text
    assert f'href="/admin/client-keys/{books_world.ids["billing-bot"]}"' in text


@pytest.mark.parametrize("name", ["rescued", "gen-1000", "00000000000000aa-1000"])
def test_a_call_has_three_names(books_world: BooksWorld, name: str) -> None:
    """That of the request, of the generation, of the entry."""
    assert "after burst was rate-limited" in books_world.get(f"{PATH}/{name}")


@pytest.mark.parametrize("at", ["", "5-1", "nonsense", "99999999999999999999-1", "9999999999999999999-0"])
def test_a_wrong_place_loses_no_call(books_world: BooksWorld, at: str) -> None:
    """It only makes it slower to find."""
    assert "after burst was rate-limited" in books_world.get(f"{PATH}/rescued?at={at}")


def test_a_call_that_is_gone(books_world: BooksWorld) -> None:
    """Is a page that says so."""
    answer = books_world.http.get(f"{PATH}/nothing-like-this")
    assert answer.status_code == 404
    assert "The ledger has no such call." in answer.text


def test_the_drawer_gets_only_the_call(books_world: BooksWorld) -> None:
    """Under the same address."""
    whole = books_world.http.get(f"{PATH}/rescued")
    part = books_world.http.get(f"{PATH}/rescued", headers={"hx-request-type": "partial"})
    assert "<html" not in part.text
    assert "Served by prod-a after burst" in part.text
    assert "HX-Request-Type" in whole.headers["vary"]


def test_an_unproven_cost_says_so_until_it_is_corrected(books_world: BooksWorld) -> None:
    """Then both amounts stand there."""
    read = words(books_world.get(f"{PATH}/left"))
    assert "not proven" in read
    assert "Reserved before $3.00" in read
    assert "Before the correction" not in read

    async def correct(redis: RedisManager) -> None:
        entry_id = "00000000000000aa-1003"
        await redis.command("HSET", redis.keys.books(*CORRECTED), entry_id, str(USD))

    books_world.redis(correct)
    read = words(books_world.get(f"{PATH}/left"))
    assert "Before the correction $3.00" in read
    assert "What it cost $1.00" in read


def test_what_is_gone_leads_nowhere(books_world: BooksWorld) -> None:
    """A client and a key that were deleted have ids, and no links."""
    text = books_world.get(f"{PATH}/gone")
    assert "Served by a key that is gone at the first try." in words(text)
    assert "/admin/client-keys/ck_gone" not in text
    assert "/admin/openrouter-keys/fff" not in text


def test_similar_calls_are_found(books_world: BooksWorld) -> None:
    """By client, model and outcome."""
    link = re.search(r'href="([^"]+)">Find similar', books_world.get(f"{PATH}/rescued"))
    assert link is not None
    assert 'requests/rescued" data-call' in books_world.get(unescape(link[1]))


def test_a_copied_command_works(books_world: BooksWorld) -> None:
    """It names the gateway as the browser knows it, and no key."""
    copied = re.findall(r'data-copy="([^"]*)"', books_world.get(f"{PATH}/plain-0"))
    command = unescape(copied[1])
    assert copied[0] == "plain-0"
    assert command.startswith(f"curl {books_world.origin}/v1/chat/completions")
    assert "$CLIENT_KEY" in command


def test_hostile_words_are_text(books_world: BooksWorld, open_page: OpenPage) -> None:
    """Models, providers, errors, users, flags and clients; on the page and in the drawer."""
    page = open_page(books_world, f"{PATH}/hostile")
    assert page.locator("main").inner_text().count(XSS) >= 6
    page.goto(f"{PATH}?id=hostile")
    page.locator("tbody .c-total").click()
    page.locator("#drawer").wait_for(state="visible")
    assert page.locator("#drawer").inner_text().count(XSS) >= 6
    assert page.locator("main img, main script").count() == 0


# ---- what was said


def kept_call(world: BooksWorld) -> str:
    """A call of a client whose words are kept; the id of its request."""
    if "talker" not in world.clients:
        made = world.gateway.create_client("talker", "--keep-bodies")
        world.clients["talker"], world.ids["talker"] = made.key, made.id
    known = set(listed(world))
    world.call("talker", text=f"Tell me of {SCRIPT}")
    found = wait_until(lambda: [one for one in listed(world) if one not in known], what="the call")
    return str(found[0])


def listed(world: BooksWorld) -> list[str]:
    text = world.get(f"{PATH}?client=talker")
    return re.findall(r'requests/([^"?]+)" data-call', text)


def looks(world: BooksWorld, request_id: str) -> int:
    """How often the audit says that somebody has read it."""
    found = world.http.get("/admin/api/audit", params={"on": request_id, "limit": 50}).json()["data"]
    return sum(one["deed"] == "read body" for one in found)


def test_each_look_at_what_was_said_is_noted_once(books_world: BooksWorld) -> None:
    """Opening the call is no look."""
    request_id = kept_call(books_world)
    assert "Show what was said" in books_world.get(f"{PATH}/{request_id}")
    assert looks(books_world, request_id) == 0

    def read() -> str:
        answer = books_world.http.post(f"{PATH}/{request_id}/body")
        return str(answer.text) if answer.status_code == 200 else ""

    text = wait_until(read, what="what was said")
    assert SCRIPT in unescape(text)
    assert SCRIPT not in text
    assert looks(books_world, request_id) == 1
    assert "no-store" in books_world.http.post(f"{PATH}/{request_id}/body").headers["cache-control"]
    assert looks(books_world, request_id) == 2


def test_nobody_looks_who_may_not(books_world: BooksWorld) -> None:
    """A viewer is told who may, and is refused; nothing is noted as read."""
    request_id = kept_call(books_world)
    made = books_world.http.post("/admin/people", data={"name": "reader", "role": "viewer"})
    password = re.search(r'<p class="secret"><code>([^<]+)</code>', made.text)
    assert password is not None, made.text
    with closing(books_world.sign_in("reader", password[1])) as viewer:
        assert "Only an administrator may read it." in viewer.get(f"{PATH}/{request_id}").text
        assert viewer.post(f"{PATH}/{request_id}/body").status_code == 403
        assert 'href="/admin/requests/export' not in viewer.get(PATH).text
        assert viewer.get(f"{PATH}/export").status_code == 403
    assert looks(books_world, request_id) == 0


def test_what_is_not_kept_says_how(books_world: BooksWorld) -> None:
    """One line, and the page where it is switched on."""
    text = books_world.get(f"{PATH}/plain-0")
    assert "Keep what is asked and answered" in text
    edit = f"/admin/client-keys/{books_world.ids['billing-bot']}/edit"
    assert f'href="{edit}"' in text
    assert "keep_bodies" in books_world.get(edit)
    answer = books_world.http.post(f"{PATH}/plain-0/body")
    assert answer.status_code == 404
    assert looks(books_world, "plain-0") == 0


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b'{"a":[1,2]}', '{\n  "a": [\n    1,\n    2\n  ]\n}'),
        (b"data: {}\n\n", "data: {}\n\n"),
        (b"\xff{", "\ufffd{"),
        (b"", ""),
        (b'{"a":', '{"a":'),
    ],
)
def test_words_are_readable(said: bytes, text: str) -> None:
    """JSON with its lines broken, everything else as it came."""
    assert readable(said) == text
