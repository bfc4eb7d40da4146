"""What a client has spent, and how far its limits of money are used up, as the books in Redis say. Books nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from app.core.clock import Clock
from app.core.redis import RedisManager
from app.models.keys import ClientKey
from app.models.limits import Group, Span, Unit
from app.models.usage import Spent
from app.services.limit_plan import Check, Plan, client_subject, shared_checks
from app.services.money import Standing, Whose, standing_of
from app.services.spending import held_name, spent_name

_AT_ONCE: Final = 1000


class Tally:
    """Figures of this moment; calls that have just ended follow within moments."""

    def __init__(self, redis: RedisManager, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock

    async def spent(self, client_id: str) -> Spent:
        """Raises RedisUnavailable."""
        now_s, subject = self._clock.wall_s(), client_subject(client_id)
        names = [spent_name(subject, span, now_s) for span in (Span.TOTAL, Span.DAY, Span.WEEK, Span.MONTH)]
        return Spent(*await self._sums(names))

    async def standings(self, client: ClientKey, group: Group | None, gateway: Group | None) -> list[Standing]:
        """Of every limit of money that is counted for all users together. Raises RedisUnavailable."""
        return await self._standings(Plan(client, group, gateway).every)

    async def standings_of(self, subject: str, terms: ClientKey | Group) -> list[Standing]:
        """The same of one client or group alone. Raises RedisUnavailable."""
        return await self._standings(shared_checks(Whose.KEY, subject, terms.limits))

    async def of_many(self, clients: Sequence[ClientKey]) -> dict[str, list[Standing]]:
        """Of each client's own limits of money, by its id; those without have none. Raises RedisUnavailable."""
        checks = [
            (client.id, check)
            for client in clients
            for check in shared_checks(Whose.KEY, client_subject(client.id), client.limits)
            if check.limit.unit is Unit.USD
        ]
        found: dict[str, list[Standing]] = {}
        for place in range(0, len(checks), _AT_ONCE):
            some = checks[place : place + _AT_ONCE]
            for (name, _), standing in zip(some, await self._standings([check for _, check in some]), strict=True):
                found.setdefault(name, []).append(standing)
        return found

    async def _standings(self, every: Iterable[Check]) -> list[Standing]:
        now_s = self._clock.wall_s()
        checks = [check for check in every if check.limit.unit is Unit.USD]
        names = [name(check.subject, check.limit.span, now_s) for check in checks for name in (spent_name, held_name)]
        sums = await self._sums(names)
        used = [spent + held for spent, held in zip(sums[::2], sums[1::2], strict=True)]
        return [standing_of(check.whose, check.limit, nano, now_s) for check, nano in zip(checks, used, strict=True)]

    async def _sums(self, names: list[tuple[str, ...]]) -> list[int]:
        found = await self._redis.pipeline([("GET", self._redis.keys.books(*name)) for name in names])
        return [int(value or 0) for value in found]
