"""Lets in who holds a client key, and answers for the data plane behind it: errors raised there end here as answers."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.clock import Clock
from app.core.errors import GatewayError
from app.middleware.facts import Facts
from app.middleware.refusal import refuse
from app.models.keys import ClientKey
from app.services.credentials import Refusal, credential, refusal_error, standing, usual_key


class ClientAuth:
    """`authenticate` looks a key up in memory; it raises GatewayError where it cannot know."""

    def __init__(
        self,
        app: ASGIApp,
        authenticate: Callable[[bytes], ClientKey | None],
        well_formed: Callable[[bytes], bool],
        clock: Clock,
    ) -> None:
        self.app = app
        self._authenticate = authenticate
        self._well_formed = well_formed
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        facts: Facts = scope["gateway"]
        try:
            facts.client = self._client(facts)
            await self.app(scope, receive, send)
        except GatewayError as error:
            # Answered in here, and not by the outermost layer, so that CORS lets a browser read the answer.
            if facts.begun:
                raise
            await refuse(scope, receive, send, error)

    def _known(self, sent: tuple[bytes, bytes]) -> ClientKey | None:
        """The usual case: one header holds one good key. Whatever else it is, the careful way finds out."""
        key = usual_key(*sent)
        if key is None:
            return None
        client = self._authenticate(key)
        return client if standing(client, self._clock.wall_s()) is None else None

    def _client(self, facts: Facts) -> ClientKey:
        """The client that may call now. Raises GatewayError."""
        if len(facts.credentials) == 1 and (client := self._known(facts.credentials[0])) is not None:
            return client
        key = credential(facts.credentials, self._well_formed)
        if isinstance(key, Refusal):
            raise refusal_error(key)
        client = self._authenticate(key)
        refusal = standing(client, self._clock.wall_s())
        if client is None or refusal is not None:
            raise refusal_error(refusal or Refusal.UNKNOWN)
        return client
