"""Everything that the panel can do, the admin API can do: each deed of a page has its route, or a reason for none."""

from __future__ import annotations

import pytest

from app.panel import account, people
from app.panel.access import ACCESS
from app.panel.api.paper import document
from app.panel.clients import STATES

API = "/admin/api"
KEYS, CLIENTS, GROUPS = f"{API}/openrouter-keys", f"{API}/client-keys", f"{API}/groups"
PERSON = f"{API}/people/{{id}}"
SAME = {
    "POST /admin/account/end-others": f"POST {API}/sessions/end-others",
    "POST /admin/account/end-session": f"DELETE {API}/sessions/{{id}}",
    "POST /admin/audit/verify": f"POST {API}/audit/verify",
    "POST /admin/client-keys": f"POST {CLIENTS}",
    "POST /admin/client-keys/bulk": f"POST {CLIENTS}/bulk",
    "POST /admin/client-keys/{client_id}/disable": f"PATCH {CLIENTS}/{{id}}/deactivate",
    "POST /admin/client-keys/{client_id}/edit": f"PATCH {CLIENTS}/{{id}}",
    "POST /admin/client-keys/{client_id}/enable": f"PATCH {CLIENTS}/{{id}}/reactivate",
    "POST /admin/client-keys/{client_id}/end": f"DELETE {CLIENTS}/{{id}}",
    "POST /admin/client-keys/{client_id}/raise": f"POST {CLIENTS}/{{id}}/raise",
    "POST /admin/client-keys/{client_id}/revoke": f"PATCH {CLIENTS}/{{id}}",
    "POST /admin/client-keys/{client_id}/rotate": f"POST {CLIENTS}/{{id}}/rotate",
    "POST /admin/groups": f"POST {GROUPS}",
    "POST /admin/groups/{group_id}/delete": f"DELETE {GROUPS}/{{id}}",
    "POST /admin/groups/{group_id}/edit": f"PATCH {GROUPS}/{{id}}",
    "POST /admin/groups/{group_id}/raise": f"POST {GROUPS}/{{id}}/raise",
    "POST /admin/openrouter-keys": f"POST {KEYS}",
    "POST /admin/openrouter-keys/bulk": f"POST {KEYS}/bulk",
    "POST /admin/openrouter-keys/import": f"POST {KEYS}/bulk-import",
    "POST /admin/openrouter-keys/rotation/create": f"POST {API}/rotation/create",
    "POST /admin/openrouter-keys/rotation/settle": f"POST {API}/drift/settle",
    "POST /admin/openrouter-keys/strategy": f"PUT {API}/strategy",
    "POST /admin/openrouter-keys/{key_id}/delete": f"DELETE {KEYS}/{{id}}",
    "POST /admin/openrouter-keys/{key_id}/disable": f"PATCH {KEYS}/{{id}}",
    "POST /admin/openrouter-keys/{key_id}/edit": f"PATCH {KEYS}/{{id}}",
    "POST /admin/openrouter-keys/{key_id}/enable": f"PATCH {KEYS}/{{id}}",
    "POST /admin/people": f"POST {API}/people",
    "POST /admin/people/{account_id}/delete": f"DELETE {PERSON}",
    "POST /admin/people/{account_id}/disable": f"PATCH {PERSON}",
    "POST /admin/people/{account_id}/enable": f"PATCH {PERSON}",
    "POST /admin/people/{account_id}/factors": f"DELETE {PERSON}/factors",
    "POST /admin/people/{account_id}/password": f"POST {PERSON}/password",
    "POST /admin/people/{account_id}/role": f"PATCH {PERSON}",
    "POST /admin/requests/{name}/body": f"POST {API}/requests/{{id}}/body",
    "POST /admin/settings": f"PATCH {API}/settings",
    "POST /admin/settings/alerts/silence": f"POST {API}/alerts/silences",
    "POST /admin/settings/alerts/test": f"POST {API}/alerts/test",
    "POST /admin/settings/reset": f"POST {API}/settings/reset",
    "POST /admin/settings/sign-out": f"POST {API}/sessions/end-everybody",
    "POST /admin/tokens": f"POST {API}/tokens",
    "POST /admin/tokens/{token_id}/revoke": f"DELETE {API}/tokens/{{id}}",
} | {
    f"POST /admin/openrouter-keys/{{key_id}}/{deed}": f"POST {KEYS}/{{id}}/{deed}"
    for deed in (
        "adopt", "cap", "clear", "cool", "release", "replace", "retire", "revoke", "rotate", "test", "undo",
    )
}  # fmt: skip
_OWN = "how somebody signs in is changed by that person, in a browser"
_WAY_IN = "the way in and out is for browsers; a program has a token"
_SCREEN = "how pages look to one browser"
_PLAYGROUND = "a page for people; a program calls /v1 itself"
EXCEPTIONS = {
    "POST /admin/account/code-off": _OWN,
    "POST /admin/account/code-on": _OWN,
    "POST /admin/account/code-setup": _OWN,
    "POST /admin/account/passkey-off": _OWN,
    "POST /admin/account/passkeys/add": _OWN,
    "POST /admin/account/passkeys/options": _OWN,
    "POST /admin/account/password": _OWN,
    "POST /admin/account/recovery-codes": _OWN,
    "POST /admin/aside": _SCREEN,
    "POST /admin/confirm": "asks a person for the password; a token is not asked",
    "POST /admin/playground": _PLAYGROUND,
    "POST /admin/playground/code": _PLAYGROUND,
    "POST /admin/playground/run": _PLAYGROUND,
    "POST /admin/preferences": _SCREEN,
    "POST /login": _WAY_IN,
    "POST /login/code": _WAY_IN,
    "POST /login/oidc": _WAY_IN,
    "POST /login/passkey": _WAY_IN,
    "POST /login/passkey/options": _WAY_IN,
    "POST /logout": _WAY_IN,
}
# Rows of pages that stand for several deeds.
SEVERAL = {
    "POST /admin/account/{deed}": tuple(account._DEEDS),
    "POST /admin/client-keys/{client_id}/{state}": tuple(STATES),
    "POST /admin/people/{account_id}/{deed}": tuple(people._DEEDS),
}


def row_of(deed: str) -> str:
    """The row of the table that a deed of a page belongs to."""
    if deed in ACCESS:
        return deed
    return next(row for row, deeds in SEVERAL.items() if deed in {_named(row, one) for one in deeds})


def _named(row: str, deed: str) -> str:
    return f"{row.rpartition('/')[0]}/{deed}"


def deeds() -> set[str]:
    """Everything that a page can send."""
    found = set()
    for row in ACCESS:
        if row.startswith(("POST /admin/", "POST /login", "POST /logout")) and not row.startswith(f"POST {API}/"):
            found |= {_named(row, one) for one in SEVERAL[row]} if row in SEVERAL else {row}
    return found


def test_each_deed_of_a_page_has_its_route_or_a_reason_for_none() -> None:
    """A new form fails here until the API can do the same."""
    assert deeds() == set(SAME) | set(EXCEPTIONS)
    assert not set(SAME) & set(EXCEPTIONS)


@pytest.mark.parametrize("deed", sorted(SAME))
def test_the_same_deed_takes_the_same_role(deed: str) -> None:
    """Neither of the two is a way around the other."""
    assert ACCESS[SAME[deed]] is ACCESS[row_of(deed)]


def test_exports_take_the_same_role() -> None:
    """Calls leave the house by the same door."""
    assert ACCESS[f"GET {API}/requests/export"] is ACCESS["GET /admin/requests/export"]


def test_the_routes_are_described() -> None:
    """A program finds them in the description, whatever their parameters are called."""
    described = {
        _bare(f"{method.upper()} {path}") for path, operations in document()["paths"].items() for method in operations
    }
    assert {_bare(route) for route in SAME.values()} <= described


def _bare(row: str) -> str:
    pieces = ("{}" if piece.startswith("{") else piece for piece in row.split("/"))
    return "/".join(pieces)
