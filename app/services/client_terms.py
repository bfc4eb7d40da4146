"""What follows from the records of a client, its group and the gateway, made once for as long as they stay. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.core.errors import Fault, GatewayError
from app.models.keys import ClientKey
from app.models.limits import GATEWAY_GROUP, Group
from app.services.limit_plan import Plan
from app.services.policy import Policy

_MOST_KEPT: Final = 100_000


class ClientTerms:
    """What one client may do (`policy`) and how much of it (`plan`)."""

    __slots__ = ("_client", "_gateway", "_group", "keeps_bodies", "lost", "plan", "policy")

    def __init__(self, client: ClientKey, group: Group | None, gateway: Group | None) -> None:
        self._client = client
        self._group = group
        self._gateway = gateway
        self.plan = Plan(client, group, gateway)
        self.policy = Policy(client, group, gateway)
        self.keeps_bodies = any(terms is not None and terms.keep_bodies for terms in (client, group, gateway))
        # Its group is gone: what the group forbade is not known any more.
        self.lost = bool(client.group) and group is None

    def is_of(self, client: ClientKey, group: Group | None, gateway: Group | None) -> bool:
        return self._client is client and self._group is group and self._gateway is gateway


NO_TERMS: Final = ClientTerms(ClientKey(id="", name="", digest="", masked=""), None, None)


class TermsBook:
    """The terms of all clients that call."""

    def __init__(self) -> None:
        self._known: dict[str, ClientTerms] = {}

    def of(self, client: ClientKey, groups: Mapping[str, Group]) -> ClientTerms:
        """Made anew when one of the three records was replaced."""
        group = groups.get(client.group) if client.group else None
        gateway = groups.get(GATEWAY_GROUP) if groups else None
        known = self._known.get(client.id)
        if known is None or not known.is_of(client, group, gateway):
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            known = self._known[client.id] = ClientTerms(client, group, gateway)
        return known


def group_lost() -> GatewayError:
    return GatewayError(
        503,
        "group_missing",
        "The group of this key is not there.",
        "Tell the people who run the gateway: clients set NAME --group …",
        fault=Fault.GATEWAY,
        headers=((b"retry-after", b"10"),),
    )
