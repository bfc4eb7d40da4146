"""OpenRouter's management API, typed: keys, workspaces, guardrail assignments. Knows no store and no policy.

A new key's secret comes back once, and only as a Secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from app.core.security import Secret
from app.models.renewal import ListedKey, Terms
from app.services.upstream_api import ApiAnswer

_NANO: Final = Decimal(1_000_000_000)
_PAGE: Final = 100
_MOST_PAGES: Final = 1000
_OK: Final = 200
_NOT_FOUND: Final = 404
_NOT_FOR_US: Final = frozenset({403, _NOT_FOUND})
_Body = TypeVar("_Body")


class ManagementRefused(Exception):  # noqa: N818 - a condition
    """OpenRouter answered, and not as wished. Says nothing of the body, which may name accounts."""

    def __init__(self, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.retry_after_s = retry_after_s


class Requests(Protocol):
    """The client of OpenRouter's API, seen from here."""

    async def request(self, method: str, path: str, secret: Secret, json: object = None) -> ApiAnswer: ...


class CreatedKey(NamedTuple):
    listed: ListedKey
    secret: Secret


class _Listed(msgspec.Struct, frozen=True):
    hash: str
    name: str | None = None
    label: str | None = None
    disabled: bool | None = None
    limit: Decimal | None = None
    limit_remaining: Decimal | None = None
    limit_reset: str | None = None
    include_byok_in_limit: bool | None = None
    created_at: str | None = None
    expires_at: str | None = None
    creator_user_id: str | None = None
    workspace_id: str | None = None


class _One(msgspec.Struct, frozen=True):
    data: _Listed


class _Many(msgspec.Struct, frozen=True):
    data: list[_Listed]


class _Made(msgspec.Struct, frozen=True):
    data: _Listed
    key: str


class _Workspace(msgspec.Struct, frozen=True):
    id: str


class _Workspaces(msgspec.Struct, frozen=True):
    data: list[_Workspace]


class _Assignment(msgspec.Struct, frozen=True):
    key_hash: str
    guardrail_id: str


class _Assignments(msgspec.Struct, frozen=True):
    data: list[_Assignment]


class ManagementApi:
    """Every call names the management key that it runs on, and raises ApiUnreachable or ManagementRefused."""

    def __init__(self, client: Requests) -> None:
        self._client = client

    async def workspaces(self, secret: Secret) -> tuple[str, ...]:
        """The ids of all workspaces; none where the key may not ask."""
        try:
            found: dict[str, None] = {}
            for offset in range(0, _MOST_PAGES * _PAGE, _PAGE):
                page = await self._get(f"/workspaces?offset={offset}&limit={_PAGE}", secret, _Workspaces)
                new = dict.fromkeys(one.id for one in page.data if one.id not in found)
                found |= new
                if not new:
                    break
        except ManagementRefused as refusal:
            if refusal.status not in _NOT_FOR_US:
                raise
        return tuple(found)

    async def keys(self, secret: Secret, workspace: str | None = None) -> tuple[ListedKey, ...]:
        """Every key of the account, or of one workspace, with the disabled and expired ones."""
        asked = ("", *await self.workspaces(secret)) if workspace is None else (workspace,)
        found: dict[str, ListedKey] = {}
        for one in asked:
            found |= await self._keys_of(secret, one)
        return tuple(found.values())

    async def _keys_of(self, secret: Secret, workspace: str) -> dict[str, ListedKey]:
        """The API shows one workspace at a time, the default one where none is named."""
        found: dict[str, ListedKey] = {}
        query = {"include_disabled": "true", "include_expired": "true"} | (
            {"workspace_id": workspace} if workspace else {}
        )
        offset = 0
        for _ in range(_MOST_PAGES):
            page = await self._get(f"/keys?{urlencode(query | {'offset': str(offset)})}", secret, _Many)
            new = {one.hash: _listed(one) for one in page.data if one.hash not in found}
            if not new:
                break
            found |= new
            offset += len(page.data)
        return found

    async def key(self, secret: Secret, key_id: str) -> ListedKey | None:
        """None: this management key knows no such key."""
        try:
            return _listed((await self._get(_path(key_id), secret, _One)).data)
        except ManagementRefused as refusal:
            if refusal.status != _NOT_FOUND:
                raise
            return None

    async def create(self, secret: Secret, terms: Terms, name: str, expires_at: float | None) -> CreatedKey:
        made = await self._send("POST", "/keys", secret, creation(terms, name, expires_at), _Made)
        return CreatedKey(_listed(made.data), Secret(made.key))

    async def change(self, secret: Secret, key_id: str, changes: Mapping[str, Any]) -> ListedKey | None:
        """`changes` in the API's own words. None: there is no such key."""
        try:
            return _listed((await self._send("PATCH", _path(key_id), secret, changes, _One)).data)
        except ManagementRefused as refusal:
            if refusal.status != _NOT_FOUND:
                raise
            return None

    async def delete(self, secret: Secret, key_id: str) -> bool:
        """For good. False: there was no such key."""
        try:
            await self._send("DELETE", _path(key_id), secret, None, msgspec.Raw)
        except ManagementRefused as refusal:
            if refusal.status != _NOT_FOUND:
                raise
            return False
        return True

    async def guardrails(self, secret: Secret) -> dict[str, str]:
        """The guardrail of each key that is assigned to one; nothing where the account has no guardrails."""
        found: dict[str, str] = {}
        try:
            for offset in range(0, _MOST_PAGES * _PAGE, _PAGE):
                path = f"/guardrails/assignments/keys?offset={offset}&limit={_PAGE}"
                page = await self._get(path, secret, _Assignments)
                found |= {one.key_hash: one.guardrail_id for one in page.data}
                if len(page.data) < _PAGE:
                    break
        except ManagementRefused as refusal:
            if refusal.status not in _NOT_FOR_US:
                raise
        return found

    async def assign(self, secret: Secret, guardrail: str, key_id: str) -> None:
        """A key has one guardrail at most; this one replaces another."""
        path = f"/guardrails/{quote(guardrail, safe='')}/assignments/keys"
        await self._send("POST", path, secret, {"key_hashes": [key_id]}, msgspec.Raw)

    async def _get(self, path: str, secret: Secret, form: type[_Body]) -> _Body:
        return await self._send("GET", path, secret, None, form)

    async def _send(self, method: str, path: str, secret: Secret, json: object, form: type[_Body]) -> _Body:
        answer = await self._client.request(method, path, secret, json)
        if not 200 <= answer.status < 300:
            raise ManagementRefused(answer.status, _seconds(answer.headers.get("retry-after", "")))
        try:
            return msgspec.json.decode(answer.body or b"null", type=form, strict=False)
        except (msgspec.MsgspecError, ValueError, ArithmeticError):
            # From here on the words would be the library's, which may quote the answer.
            raise ManagementRefused(answer.status) from None


def creation(terms: Terms, name: str, expires_at: float | None) -> dict[str, Any]:
    """The body that creates a key. What is not asked for is not sent."""
    body: dict[str, Any] = {"name": name, "include_byok_in_limit": terms.include_byok}
    if terms.limit_nano is not None:
        body["limit"] = usd(terms.limit_nano)
    if terms.limit_reset:
        body["limit_reset"] = terms.limit_reset
    if expires_at is not None:
        body["expires_at"] = datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if terms.workspace:
        body["workspace_id"] = terms.workspace
    if terms.creator:
        body["creator_user_id"] = terms.creator
    return body


def usd(nano: int) -> float:
    """Dollars as the API takes them."""
    return float(Decimal(nano) / _NANO)


def _path(key_id: str) -> str:
    return f"/keys/{quote(key_id, safe='')}"


def _listed(said: _Listed) -> ListedKey:
    return ListedKey(
        id=said.hash,
        name=said.name or "",
        label=said.label or "",
        disabled=bool(said.disabled),
        limit_nano=_nano(said.limit),
        limit_remaining_nano=_nano(said.limit_remaining),
        limit_reset=said.limit_reset or "",
        include_byok=bool(said.include_byok_in_limit),
        created_at=_instant(said.created_at) or 0.0,
        expires_at=_instant(said.expires_at),
        creator=said.creator_user_id or "",
        workspace=said.workspace_id or "",
    )


def _nano(amount: Decimal | None) -> int | None:
    if amount is not None and not amount.is_finite():
        # No limit at all is the last thing that this may be taken for.
        raise ManagementRefused(_OK)
    return None if amount is None else int(amount * _NANO)


def _instant(text: str | None) -> float | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _seconds(text: str) -> float | None:
    return float(text) if text.isdecimal() else None
