"""The one table of who may do what: every route of the panel and its API, with the least role. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from app.models.people import Person, Role

PUBLIC: Final = None
"""For everybody, signed in or not."""

# Sorted by path. A route that is missing here is refused, and a test says so.
ACCESS: Final[Mapping[str, Role | None]] = {
    "GET /admin": Role.VIEWER,
    "GET /admin/": Role.VIEWER,
    "GET /admin/_patterns": Role.VIEWER,
    "GET /admin/account": Role.VIEWER,
    "POST /admin/account/passkeys/add": Role.VIEWER,
    "POST /admin/account/passkeys/options": Role.VIEWER,
    "POST /admin/account/{deed}": Role.VIEWER,
    "GET /admin/api/alerts": Role.VIEWER,
    "GET /admin/api/alerts/active": Role.VIEWER,
    "GET /admin/api/alerts/receivers": Role.VIEWER,
    "GET /admin/api/alerts/silences": Role.VIEWER,
    "POST /admin/api/alerts/silences": Role.OPERATOR,
    "POST /admin/api/alerts/test": Role.OPERATOR,
    "GET /admin/api/audit": Role.VIEWER,
    "POST /admin/api/audit/verify": Role.VIEWER,
    "GET /admin/api/client-keys": Role.VIEWER,
    "POST /admin/api/client-keys": Role.OPERATOR,
    "POST /admin/api/client-keys/bulk": Role.OPERATOR,
    "DELETE /admin/api/client-keys/{id}": Role.OPERATOR,
    "GET /admin/api/client-keys/{id}": Role.VIEWER,
    "PATCH /admin/api/client-keys/{id}": Role.OPERATOR,
    "GET /admin/api/client-keys/{id}/budgets": Role.VIEWER,
    "PATCH /admin/api/client-keys/{id}/deactivate": Role.OPERATOR,
    "POST /admin/api/client-keys/{id}/raise": Role.OPERATOR,
    "PATCH /admin/api/client-keys/{id}/reactivate": Role.OPERATOR,
    "POST /admin/api/client-keys/{id}/rotate": Role.OPERATOR,
    "GET /admin/api/dashboard-data": Role.VIEWER,
    "GET /admin/api/docs": Role.VIEWER,
    "GET /admin/api/drift": Role.VIEWER,
    "POST /admin/api/drift/settle": Role.OPERATOR,
    "GET /admin/api/groups": Role.VIEWER,
    "POST /admin/api/groups": Role.OPERATOR,
    "DELETE /admin/api/groups/{id}": Role.OPERATOR,
    "GET /admin/api/groups/{id}": Role.VIEWER,
    "PATCH /admin/api/groups/{id}": Role.OPERATOR,
    "GET /admin/api/groups/{id}/budgets": Role.VIEWER,
    "POST /admin/api/groups/{id}/raise": Role.OPERATOR,
    "GET /admin/api/logs": Role.VIEWER,
    "DELETE /admin/api/logs/bulk": Role.ADMIN,
    "POST /admin/api/logs/cleanup": Role.OPERATOR,
    "GET /admin/api/logs/config": Role.VIEWER,
    "POST /admin/api/logs/config": Role.ADMIN,
    "GET /admin/api/logs/export": Role.VIEWER,
    "GET /admin/api/logs/levels": Role.VIEWER,
    "GET /admin/api/logs/live": Role.VIEWER,
    "GET /admin/api/logs/modules": Role.VIEWER,
    "GET /admin/api/logs/stats": Role.VIEWER,
    "DELETE /admin/api/logs/{id}": Role.ADMIN,
    "GET /admin/api/logs/{id}": Role.VIEWER,
    "GET /admin/api/openapi.json": Role.VIEWER,
    "GET /admin/api/openrouter-keys": Role.VIEWER,
    "POST /admin/api/openrouter-keys": Role.OPERATOR,
    "POST /admin/api/openrouter-keys/bulk": Role.OPERATOR,
    "POST /admin/api/openrouter-keys/bulk-import": Role.OPERATOR,
    "POST /admin/api/openrouter-keys/preview": Role.OPERATOR,
    "DELETE /admin/api/openrouter-keys/{id}": Role.OPERATOR,
    "GET /admin/api/openrouter-keys/{id}": Role.VIEWER,
    "PATCH /admin/api/openrouter-keys/{id}": Role.OPERATOR,
    "POST /admin/api/openrouter-keys/{id}/adopt": Role.OPERATOR,
    "POST /admin/api/openrouter-keys/{id}/cap": Role.ADMIN,
    "POST /admin/api/openrouter-keys/{id}/clear": Role.OPERATOR,
    "POST /admin/api/openrouter-keys/{id}/cool": Role.OPERATOR,
    "POST /admin/api/openrouter-keys/{id}/release": Role.OPERATOR,
    "POST /admin/api/openrouter-keys/{id}/replace": Role.OPERATOR,
    "POST /admin/api/openrouter-keys/{id}/retire": Role.OPERATOR,
    "POST /admin/api/openrouter-keys/{id}/revoke": Role.OPERATOR,
    "POST /admin/api/openrouter-keys/{id}/rotate": Role.OPERATOR,
    "POST /admin/api/openrouter-keys/{id}/test": Role.OPERATOR,
    "POST /admin/api/openrouter-keys/{id}/undo": Role.OPERATOR,
    "GET /admin/api/people": Role.ADMIN,
    "POST /admin/api/people": Role.ADMIN,
    "GET /admin/api/people/{id}": Role.ADMIN,
    "PATCH /admin/api/people/{id}": Role.ADMIN,
    "DELETE /admin/api/people/{id}": Role.ADMIN,
    "DELETE /admin/api/people/{id}/factors": Role.ADMIN,
    "POST /admin/api/people/{id}/password": Role.ADMIN,
    "GET /admin/api/reconciliation/{day}": Role.VIEWER,
    "POST /admin/api/reconciliation/{day}": Role.OPERATOR,
    "GET /admin/api/requests": Role.VIEWER,
    "GET /admin/api/requests/export": Role.OPERATOR,
    "GET /admin/api/requests/{id}": Role.VIEWER,
    "POST /admin/api/requests/{id}/body": Role.ADMIN,
    "GET /admin/api/rotation": Role.VIEWER,
    "POST /admin/api/rotation/create": Role.ADMIN,
    "GET /admin/api/rotation/managed": Role.VIEWER,
    "POST /admin/api/rotation/plan": Role.OPERATOR,
    "GET /admin/api/sessions": Role.VIEWER,
    "POST /admin/api/sessions/end-everybody": Role.ADMIN,
    "POST /admin/api/sessions/end-others": Role.VIEWER,
    "DELETE /admin/api/sessions/{id}": Role.VIEWER,
    "GET /admin/api/settings": Role.VIEWER,
    "PATCH /admin/api/settings": Role.ADMIN,
    "POST /admin/api/settings/reset": Role.ADMIN,
    "GET /admin/api/strategy": Role.VIEWER,
    "PUT /admin/api/strategy": Role.ADMIN,
    "GET /admin/api/system-status": Role.VIEWER,
    "POST /admin/api/system/cleanup": Role.OPERATOR,
    "GET /admin/api/tokens": Role.VIEWER,
    "POST /admin/api/tokens": Role.VIEWER,
    "GET /admin/api/tokens/{id}": Role.VIEWER,
    "DELETE /admin/api/tokens/{id}": Role.VIEWER,
    "GET /admin/api/usage": Role.VIEWER,
    "POST /admin/aside": Role.VIEWER,
    "GET /admin/audit": Role.VIEWER,
    "GET /admin/audit/export": Role.ADMIN,
    "POST /admin/audit/verify": Role.VIEWER,
    "GET /admin/audit/{entry}": Role.VIEWER,
    "GET /admin/client-keys": Role.VIEWER,
    "POST /admin/client-keys": Role.OPERATOR,
    "POST /admin/client-keys/bulk": Role.OPERATOR,
    "GET /admin/client-keys/export": Role.VIEWER,
    "GET /admin/client-keys/new": Role.OPERATOR,
    "GET /admin/client-keys/{client_id}": Role.VIEWER,
    "GET /admin/client-keys/{client_id}/edit": Role.OPERATOR,
    "POST /admin/client-keys/{client_id}/edit": Role.OPERATOR,
    "GET /admin/client-keys/{client_id}/end": Role.OPERATOR,
    "POST /admin/client-keys/{client_id}/end": Role.OPERATOR,
    "POST /admin/client-keys/{client_id}/raise": Role.OPERATOR,
    "GET /admin/client-keys/{client_id}/rotate": Role.OPERATOR,
    "POST /admin/client-keys/{client_id}/rotate": Role.OPERATOR,
    "POST /admin/client-keys/{client_id}/{state}": Role.OPERATOR,
    "GET /admin/confirm": Role.VIEWER,
    "POST /admin/confirm": Role.VIEWER,
    "GET /admin/groups": Role.VIEWER,
    "POST /admin/groups": Role.OPERATOR,
    "GET /admin/groups/new": Role.OPERATOR,
    "GET /admin/groups/{group_id}": Role.VIEWER,
    "POST /admin/groups/{group_id}/delete": Role.OPERATOR,
    "GET /admin/groups/{group_id}/edit": Role.OPERATOR,
    "POST /admin/groups/{group_id}/edit": Role.OPERATOR,
    "POST /admin/groups/{group_id}/raise": Role.OPERATOR,
    "GET /admin/live": Role.VIEWER,
    "GET /admin/openrouter-keys": Role.VIEWER,
    "POST /admin/openrouter-keys": Role.OPERATOR,
    "POST /admin/openrouter-keys/bulk": Role.OPERATOR,
    "GET /admin/openrouter-keys/export": Role.VIEWER,
    "GET /admin/openrouter-keys/import": Role.OPERATOR,
    "POST /admin/openrouter-keys/import": Role.OPERATOR,
    "GET /admin/openrouter-keys/import/{run}": Role.OPERATOR,
    "GET /admin/openrouter-keys/new": Role.OPERATOR,
    "GET /admin/openrouter-keys/rotation": Role.VIEWER,
    "POST /admin/openrouter-keys/rotation/create": Role.ADMIN,
    "POST /admin/openrouter-keys/rotation/settle": Role.OPERATOR,
    "POST /admin/openrouter-keys/strategy": Role.ADMIN,
    "GET /admin/openrouter-keys/{key_id}": Role.VIEWER,
    "POST /admin/openrouter-keys/{key_id}/adopt": Role.OPERATOR,
    "POST /admin/openrouter-keys/{key_id}/cap": Role.ADMIN,
    "POST /admin/openrouter-keys/{key_id}/clear": Role.OPERATOR,
    "POST /admin/openrouter-keys/{key_id}/cool": Role.OPERATOR,
    "GET /admin/openrouter-keys/{key_id}/delete": Role.OPERATOR,
    "POST /admin/openrouter-keys/{key_id}/delete": Role.OPERATOR,
    "POST /admin/openrouter-keys/{key_id}/disable": Role.OPERATOR,
    "GET /admin/openrouter-keys/{key_id}/edit": Role.OPERATOR,
    "POST /admin/openrouter-keys/{key_id}/edit": Role.OPERATOR,
    "POST /admin/openrouter-keys/{key_id}/enable": Role.OPERATOR,
    "POST /admin/openrouter-keys/{key_id}/release": Role.OPERATOR,
    "GET /admin/openrouter-keys/{key_id}/replace": Role.OPERATOR,
    "POST /admin/openrouter-keys/{key_id}/replace": Role.OPERATOR,
    "GET /admin/openrouter-keys/{key_id}/retire": Role.OPERATOR,
    "POST /admin/openrouter-keys/{key_id}/retire": Role.OPERATOR,
    "GET /admin/openrouter-keys/{key_id}/revoke": Role.OPERATOR,
    "POST /admin/openrouter-keys/{key_id}/revoke": Role.OPERATOR,
    "GET /admin/openrouter-keys/{key_id}/rotate": Role.OPERATOR,
    "POST /admin/openrouter-keys/{key_id}/rotate": Role.OPERATOR,
    "POST /admin/openrouter-keys/{key_id}/test": Role.OPERATOR,
    "POST /admin/openrouter-keys/{key_id}/undo": Role.OPERATOR,
    "GET /admin/people": Role.ADMIN,
    "POST /admin/people": Role.ADMIN,
    "POST /admin/people/{account_id}/{deed}": Role.ADMIN,
    "GET /admin/playground": Role.OPERATOR,
    "POST /admin/playground": Role.OPERATOR,
    "POST /admin/playground/code": Role.OPERATOR,
    "POST /admin/playground/run": Role.OPERATOR,
    "GET /admin/preferences": Role.VIEWER,
    "POST /admin/preferences": Role.VIEWER,
    "GET /admin/requests": Role.VIEWER,
    "GET /admin/requests/export": Role.OPERATOR,
    "GET /admin/requests/{name}": Role.VIEWER,
    "POST /admin/requests/{name}/body": Role.ADMIN,
    "GET /admin/settings": Role.VIEWER,
    "POST /admin/settings": Role.ADMIN,
    "POST /admin/settings/alerts/silence": Role.OPERATOR,
    "POST /admin/settings/alerts/test": Role.OPERATOR,
    "POST /admin/settings/reset": Role.ADMIN,
    "POST /admin/settings/sign-out": Role.ADMIN,
    "GET /admin/tokens": Role.VIEWER,
    "POST /admin/tokens": Role.VIEWER,
    "POST /admin/tokens/{token_id}/revoke": Role.VIEWER,
    "GET /admin/usage": Role.VIEWER,
    "GET /admin/usage/export": Role.VIEWER,
    "GET /check-auth": Role.VIEWER,
    "POST /extend-session": Role.VIEWER,
    "GET /login": PUBLIC,
    "POST /login": PUBLIC,
    "GET /login/code": PUBLIC,
    "POST /login/code": PUBLIC,
    "POST /login/oidc": PUBLIC,
    "GET /login/oidc/callback": PUBLIC,
    "POST /login/passkey": PUBLIC,
    "POST /login/passkey/options": PUBLIC,
    "GET /logout": PUBLIC,
    "POST /logout": PUBLIC,
    "GET /proxy/circuit-breakers": Role.VIEWER,
    "POST /proxy/circuit-breakers/{id}/reset": Role.OPERATOR,
    "GET /proxy/health": Role.VIEWER,
    "GET /proxy/keys/status": Role.VIEWER,
    "POST /proxy/keys/{id}/test": Role.OPERATOR,
    "GET /proxy/rotation/strategy": Role.VIEWER,
    "POST /proxy/rotation/strategy/{strategy}": Role.ADMIN,
    "GET /proxy/stats": Role.VIEWER,
    "POST /refresh-csrf": Role.VIEWER,
    "GET /session-info": Role.VIEWER,
    "GET /session-status": PUBLIC,
    "GET /static/{place:path}": PUBLIC,
    "POST /validate-credentials": Role.VIEWER,
}


class NoSuchRouteError(Exception):
    """A path or method that the panel does not have."""


def needed(method: str, path: str) -> Role | None:
    """The least role, or PUBLIC. Raises NoSuchRouteError."""
    asked = "GET" if method == "HEAD" else method
    if (exact := f"{asked} {path}") in ACCESS:
        return ACCESS[exact]
    for row_method, pattern, role in _patterns():
        if row_method == asked and pattern.fullmatch(path):
            return role
    raise NoSuchRouteError


def may(person: Person | None, route: str) -> bool:
    """Whether to show somebody what leads to a route, named as in the table."""
    role = ACCESS[route]
    return role is None or (person is not None and person.role.covers(role))


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str], Role | None], ...]:
    found = []
    for row, role in ACCESS.items():
        method, _, template = row.partition(" ")
        if "{" in template:
            pattern = "".join(_piece(part) for part in re.split(r"(\{[^}]+\})", template))
            found.append((method, re.compile(pattern), role))
    return tuple(found)


def _piece(part: str) -> str:
    if part.startswith("{"):
        return ".+" if part.endswith(":path}") else "[^/]+"
    return re.escape(part)
