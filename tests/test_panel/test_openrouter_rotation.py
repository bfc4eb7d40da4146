"""Keys that a management key administers: what is managed, what is under way, what differs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.core.security import SealBroken
from app.panel.openrouter_rotation import refused
from app.services.key_store import ConflictError
from app.services.management_api import ManagementRefused
from app.services.renewal import RenewalRefused
from app.services.renewal_steps import NoAdmin
from app.services.upstream_api import ApiUnreachable
from tests.test_panel.conftest import OpenPage
from tests.test_panel.keys_world import PAGES, Key, KeysWorld, keys_world, running_world, upstream, wait_until

__all__ = ["keys_world"]

ROTATION = f"{PAGES}/rotation"


@pytest.fixture(scope="module")
def managed_world() -> Iterator[KeysWorld]:
    """A gateway with a management key on file."""
    with running_world() as world:
        world.add("boss", management=True)
        yield world


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RenewalRefused("Not this one."), "Not this one."),
        (ApiUnreachable("ConnectError", sent=False), "OpenRouter cannot be reached (ConnectError): try again."),
        (ConflictError(), "Somebody else works on this key at the same moment: try again."),
        (SealBroken(), "A stored secret cannot be opened: replace it."),
        (NoAdmin(), "There is no enabled management key on file that may do this."),
    ],
)
def test_refusals_are_sentences(error: Exception, sentence: str) -> None:
    """For whoever pressed the button."""
    assert refused(error) == sentence


def test_openrouters_refusal_is_told(managed_world: KeysWorld) -> None:
    """A management key whose account has lost its rights."""
    assert "OpenRouter refused" in refused(ManagementRefused(403))


def test_without_a_management_key(keys_world: KeysWorld) -> None:
    """The page says what one would bring, and how to add one."""
    page = keys_world.get(ROTATION)
    assert "There is no management key on file." in page
    assert f'href="{PAGES}/new"' in page


def test_nothing_is_asked_unasked(managed_world: KeysWorld) -> None:
    """OpenRouter's list is read when somebody wants to compare."""
    before = len(managed_world.simulator.requests(path="/api/v1/keys"))
    page = managed_world.get(ROTATION)
    assert "read when you ask for it" in page
    assert len(managed_world.simulator.requests(path="/api/v1/keys")) == before


def settle(world: KeysWorld, key: Key, drift: str, action: str) -> str:
    """Presses the button of a difference."""
    return world.told(world.post(f"{ROTATION}/settle", key=key.id, drift=drift, action=action))


def test_differences_have_one_action_each(managed_world: KeysWorld) -> None:
    """Adopted, restored, disabled, forgotten; each is in the audit once."""
    world = managed_world
    key = world.add("drifting", limit=10, limit_reset="monthly")
    assert "not managed" in world.get(f"{ROTATION}?compare=1")
    assert settle(world, key, "not_managed", "adopt").startswith("Done:")
    page = world.get(ROTATION)
    assert "$10.00 monthly" in page
    world.simulator.control("keys", {"key": key.secret, "limit": 99})
    assert "Its limit is 99 USD monthly, not 10 USD monthly." in world.get(f"{ROTATION}?compare=1")
    assert settle(world, key, "limit", "restore_limit").startswith("Done:")
    assert upstream(world, key)["limit"] == "10"
    assert "gone already" in settle(world, key, "limit", "restore_limit")
    world.simulator.control("keys", {"key": key.secret, "disabled": True})
    assert settle(world, key, "disabled", "disable_here").startswith("Done:")
    assert world.record(key)["state"] == "disabled"
    world.simulator.control("keys", {"key": key.secret, "deleted": True})
    assert settle(world, key, "vanished", "remove_here").startswith("Done:")
    assert world.http.get(key.path).status_code == 404
    assert [deed for deed, _, _ in world.deeds(key)] == [
        "add", "drift: adopt", "drift: restore_limit", "disabled", "delete",
    ]  # fmt: skip


def test_keys_that_only_people_can_add(managed_world: KeysWorld) -> None:
    """OpenRouter lists them, and nobody here has their secret."""
    secret = managed_world.new_secret(name="stranger <b>")
    page = managed_world.get(f"{ROTATION}?compare=1")
    assert "stranger &lt;b&gt;" in page
    assert "the pool does not know it" in page
    told = settle(managed_world, Key(secret, "x"), "unknown", "add")
    assert "Only whoever has the secret can do this" in told


def test_a_key_is_made_at_openrouter(managed_world: KeysWorld) -> None:
    """And comes into the pool by itself; its secret is shown nowhere."""
    world = managed_world
    boss = next(one for one in world.http.get("/admin/api/openrouter-keys").json()["data"] if one["label"] == "boss")
    answer = world.post(f"{ROTATION}/create", admin=boss["id"], name="made here", limit="5", reset="daily", days="30")
    assert "is being made at OpenRouter" in world.told(answer)

    def there() -> list[dict[str, object]]:
        found = world.http.get("/admin/api/openrouter-keys", params={"q": "made here"}).json()["data"]
        return [one for one in found if one["limit_reset"]]  # OpenRouter was asked about it

    (made,) = wait_until(there, what="the new key")
    assert (made["limit_nano"], made["limit_reset"], made["label"]) == (5_000_000_000, "daily", "made here")
    wait_until(lambda: "done" in world.get(ROTATION).partition("Done in the last months")[2], what="its end")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"name": ""}, "name-error"),
        ({"name": "x", "limit": "ten"}, "limit-error"),
        ({"name": "x", "days": "0"}, "days-error"),
        ({"name": "x", "days": "soon"}, "days-error"),
    ],
)
def test_what_cannot_be_made(managed_world: KeysWorld, fields: dict[str, str], error: str) -> None:
    """Is told beside its field."""
    boss = next(
        one for one in managed_world.http.get("/admin/api/openrouter-keys").json()["data"] if one["label"] == "boss"
    )
    answer = managed_world.post(f"{ROTATION}/create", admin=boss["id"], **fields)
    assert answer.status_code == 422
    assert f'id="{error}"' in answer.text


def test_only_a_management_key_makes_keys(managed_world: KeysWorld) -> None:
    """Any other is refused with a sentence."""
    key = managed_world.add("no boss")
    answer = managed_world.post(f"{ROTATION}/create", admin=key.id, name="x")
    assert answer.status_code == 422
    assert "not an enabled management key" in answer.text


def test_openrouter_away(managed_world: KeysWorld) -> None:
    """The page is there all the same, and says so."""
    managed_world.simulator.control("script", {"key": "*", "then": [{"status": 503, "times": 1, "path": "/keys"}]})
    page = managed_world.get(f"{ROTATION}?compare=1")
    managed_world.simulator.forget_scripts()
    assert "Rotation" in page


@pytest.mark.parametrize(("width", "dark"), [(1440, True), (390, False)])
def test_the_page_in_a_browser(managed_world: KeysWorld, open_page: OpenPage, width: int, dark: bool) -> None:
    """The console stays silent and nothing hangs out."""
    page = open_page(managed_world, f"{ROTATION}?compare=1", width=width, dark=dark)
    assert page.get_by_role("heading", name="Differences to OpenRouter").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
