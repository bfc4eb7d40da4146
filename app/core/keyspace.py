"""The one place where names of keys in Redis are made. What shares {braces} lives in one slot of a cluster.

It must never know what is stored under a name.
"""

from __future__ import annotations


class Keyspace:
    """`{state}` holds what one script changes together; owners and catalogues spread over the cluster."""

    __slots__ = ("_prefix", "audit", "changes", "client_keys", "openrouter_keys", "version")

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.openrouter_keys = f"{prefix}:{{state}}:openrouter-keys"
        self.client_keys = f"{prefix}:{{state}}:client-keys"
        self.version = f"{prefix}:{{state}}:version"
        self.audit = f"{prefix}:{{state}}:audit"
        self.changes = f"{prefix}:{{state}}:changes"

    def owner(self, kind: str, object_id: str) -> str:
        return f"{self._prefix}:owner:{{{kind}:{object_id}}}"

    def catalogue(self, digest: str) -> str:
        return f"{self._prefix}:catalogue:{{{digest}}}"

    def lock(self, name: str) -> str:
        return f"{self._prefix}:lock:{{{name}}}"

    def generations(self, hour: int) -> str:
        return f"{self._prefix}:generations:{{{hour}}}"

    def spent(self, client_id: str, period: str) -> str:
        return f"{self._prefix}:spent:{{{client_id}}}:{period}"
