"""The deeds on groups of clients, and on the one of the whole gateway: make one, change its terms, forget it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from app.core.clock import Clock
from app.models.limits import GATEWAY_GROUP, Group
from app.services.key_fields import changed, described, difference
from app.services.key_names import KeyRefused, NoSuchKey, Outdated
from app.services.key_store import Deed, KeyStore, RecordKind
from app.services.key_view import KeyView
from app.services.limit_words import raised
from app.services.retry import on_conflict

log = logging.getLogger(__name__)

_SHORTEST_ID: Final = 6


def group_named(name: str, groups: Mapping[str, Group]) -> Group:
    """The one group of this id, name, or beginning of an id. Raises NoSuchKey."""
    if (exact := groups.get(name)) is not None:
        return exact
    found = [group for group in groups.values() if group.name == name]
    if not found and len(name) >= _SHORTEST_ID:
        found = [group for group in groups.values() if group.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    raise NoSuchKey("More than one group answers to that name: give the id." if found else "No group has that name.")


class Groups:
    """Every deed is stored first, and then taken into the view."""

    def __init__(self, store: KeyStore, view: KeyView, clock: Clock) -> None:
        self._shelf = store.groups
        self._view = view
        self._clock = clock

    async def create(self, name: str, *, by: str, changes: Mapping[str, Any] | None = None) -> Group:
        """Raises KeyRefused, ConflictError, RedisUnavailable."""
        blank = Group(id=f"grp_{secrets.token_hex(8)}", name="", created_at=self._clock.wall_s())

        async def change() -> Group:
            record = changed(blank, {"name": name, **(changes or {})})
            self._refuse_taken(record)
            return await self._put(record, by, "create", ("", _whole(record)))

        return await on_conflict(change, self._view.resync)

    async def update(self, name: str, changes: Mapping[str, Any], *, by: str, rev: int | None = None) -> Group:
        """The gateway's group is made by the first change. Raises NoSuchKey, KeyRefused, Outdated, ConflictError,
        RedisUnavailable.
        """
        return await self._edit(name, lambda _: changes, by, "update", rev)

    async def raise_limit(self, name: str, which: str, size: str, until_s: float, *, by: str) -> Group:
        """Raises NoSuchKey, KeyRefused, ConflictError, RedisUnavailable."""

        def changes(record: Group) -> Mapping[str, Any]:
            return {"limits": raised(record.limits, which, size, until_s, self._clock.wall_s())}

        return await self._edit(name, changes, by, "raise")

    async def delete(self, name: str, *, by: str, rev: int | None = None) -> Group:
        """Raises NoSuchKey, KeyRefused (it has clients), Outdated, ConflictError, RedisUnavailable."""

        async def change() -> Group:
            record = self._seen(name, rev)
            if not record.rev:
                raise NoSuchKey("The gateway has no terms of its own.")
            # A client that joins in this moment raises the state's version, and then this begins again.
            looked_at = self._view.version
            if members := sum(client.group == record.id for client in self._view.clients.values()):
                raise KeyRefused(f"Clients belong to this group, {members} of them: move them first.")
            deed = self._deed(record, by, "delete", (_whole(record), ""))
            version = await self._shelf.drop(record, deed, at_version=looked_at)
            await self._view.drop_group(record, version)
            log.info("group was deleted", extra={"group": record.id, "by": by})
            return record

        return await on_conflict(change, self._view.resync)

    def find(self, name: str) -> Group:
        """The gateway's own is always there, if only without terms. Raises NoSuchKey."""
        if name == GATEWAY_GROUP and name not in self._view.groups:
            return Group(id=GATEWAY_GROUP, name=GATEWAY_GROUP, created_at=self._clock.wall_s())
        return group_named(name, self._view.groups)

    def _seen(self, name: str, rev: int | None) -> Group:
        """The record, if it still is what somebody has seen; any with None."""
        record = self.find(name)
        if rev not in (None, record.rev):
            raise Outdated
        return record

    async def _edit(
        self, name: str, changes: Callable[[Group], Mapping[str, Any]], by: str, what: str, rev: int | None = None
    ) -> Group:
        async def change() -> Group:
            record = self._seen(name, rev)
            after = changed(record, changes(record))
            if after.name != record.name:
                self._refuse_taken(after)
            return record if after == record else await self._put(after, by, what, difference(record, after))

        return await on_conflict(change, self._view.resync)

    def _refuse_taken(self, record: Group) -> None:
        """Raises KeyRefused."""
        if GATEWAY_GROUP in (record.id, record.name):
            raise KeyRefused(f"{GATEWAY_GROUP} is the group of all clients: it is there already, and keeps its name.")
        if any(record.name in (group.name, group.id) for group in self._view.groups.values() if group.id != record.id):
            raise KeyRefused("Another group has that name.")

    async def _put(self, record: Group, by: str, what: str, told: tuple[str, str]) -> Group:
        stored, version = await self._shelf.put(record, self._deed(record, by, what, told))
        await self._view.put_group(stored, version)
        log.info("group was changed", extra={"deed": what, "group": stored.id, "by": by})
        return stored

    def _deed(self, record: Group, by: str, what: str, told: tuple[str, str]) -> Deed:
        return Deed(
            at=self._clock.wall_s(),
            by=by,
            deed=what,
            kind=RecordKind.GROUP,
            id=record.id,
            name=record.name,
            before=told[0],
            after=told[1],
        )


def _whole(record: Group) -> str:
    """For the audit: everything that is not as it usually is."""
    return msgspec.json.encode(described(record)).decode()
