"""Calls to OpenRouter for the gateway's own sake, off the request path: what a key is. The only user of httpx2."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

import httpx2

from app.core.config import Settings
from app.core.security import Secret

_TIMEOUT_S = 10.0


class ProbeFailed(Exception):  # noqa: N818 - a condition
    """Nothing could be learnt of a key. `unknown_key`: OpenRouter answered that it does not know it."""

    def __init__(self, reason: str, *, unknown_key: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unknown_key = unknown_key


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What `GET /key` says, as far as the gateway uses it."""

    is_management: bool
    label: str = ""


class KeyProbe:
    """Asks `GET /key`, which is free. No redirects, no cookies, no environment."""

    def __init__(self, settings: Settings) -> None:
        context = ssl.create_default_context(cafile=settings.openrouter_ca_file or None)
        self._url = f"{settings.upstream}/v1/key"
        self._client = httpx2.AsyncClient(
            timeout=_TIMEOUT_S,
            trust_env=False,
            follow_redirects=False,
            verify=context,
            proxy=settings.https_proxy or None,
        )

    async def describe(self, secret: Secret) -> KeyFacts:
        """Raises ProbeFailed."""
        try:
            answer = await self._client.get(self._url, headers={"authorization": f"Bearer {secret.reveal()}"})
            self._client.cookies.clear()
            value: Any = answer.json() if answer.status_code == 200 else None
        except (httpx2.HTTPError, ValueError) as error:
            raise ProbeFailed(type(error).__name__) from None
        if answer.status_code == 401:
            raise ProbeFailed("unknown key", unknown_key=True)
        data = value.get("data") if isinstance(value, dict) else None
        if not isinstance(data, dict):
            raise ProbeFailed(f"status {answer.status_code}")
        management = bool(data.get("is_management_key") or data.get("is_provisioning_key"))
        return KeyFacts(is_management=management, label=str(data.get("label") or ""))

    async def close(self) -> None:
        await self._client.aclose()
