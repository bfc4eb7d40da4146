"""The one place where names of keys in Redis are made. What shares {braces} lives in one slot of a cluster.

It must never know what is stored under a name.
"""

from __future__ import annotations


class Keyspace:
    """`{state}` holds what one script changes together, `{books}` what one admission or settlement does; owners and
    catalogues spread over the cluster.
    """

    __slots__ = (
        "_prefix",
        "audit",
        "audit_head",
        "changes",
        "client_keys",
        "client_pepper",
        "fact_changes",
        "groups",
        "in_flight",
        "journal",
        "key_facts",
        "managed_keys",
        "mark_changes",
        "marks",
        "openrouter_keys",
        "setting_changes",
        "settings",
        "settings_version",
        "store_mark",
        "version",
    )

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.openrouter_keys = f"{prefix}:{{state}}:openrouter-keys"
        self.client_keys = f"{prefix}:{{state}}:client-keys"
        self.client_pepper = f"{prefix}:{{state}}:client-pepper"
        self.version = f"{prefix}:{{state}}:version"
        self.store_mark = f"{prefix}:{{state}}:store-mark"
        self.audit = f"{prefix}:{{state}}:audit"
        self.audit_head = f"{prefix}:{{state}}:audit-head"
        self.groups = f"{prefix}:{{state}}:groups"
        self.changes = f"{prefix}:{{state}}:changes"
        self.journal = f"{prefix}:{{state}}:journal"
        self.managed_keys = f"{prefix}:{{state}}:managed-keys"
        self.in_flight = f"{prefix}:{{state}}:in-flight"
        self.settings = f"{prefix}:{{state}}:settings"
        self.settings_version = f"{prefix}:{{state}}:settings-version"
        self.setting_changes = f"{prefix}:{{state}}:setting-changes"
        self.marks = f"{prefix}:{{state}}:marks"
        self.mark_changes = f"{prefix}:{{state}}:mark-changes"
        self.key_facts = f"{prefix}:{{state}}:key-facts"
        self.fact_changes = f"{prefix}:{{state}}:fact-changes"

    def owner(self, kind: str, object_id: str) -> str:
        return f"{self._prefix}:owner:{{{kind}:{object_id}}}"

    def catalogue(self, digest: str) -> str:
        return f"{self._prefix}:catalogue:{{{digest}}}"

    def lease(self, name: str) -> str:
        """Who does a work that only one worker does. In `{state}`, because scripts that write compare its fence."""
        return f"{self._prefix}:{{state}}:lease:{name}"

    def fence(self, name: str) -> str:
        return f"{self._prefix}:{{state}}:fence:{name}"

    def lock(self, name: str) -> str:
        return f"{self._prefix}:lock:{{{name}}}"

    def generations(self, hour: int) -> str:
        return f"{self._prefix}:generations:{{{hour}}}"

    def spent(self, client_id: str, period: str) -> str:
        return f"{self._prefix}:spent:{{{client_id}}}:{period}"

    def books(self, *parts: str) -> str:
        return f"{self._prefix}:{{books}}:{':'.join(parts)}"

    def people(self, *parts: str) -> str:
        """Sessions, accounts and everything else about who uses the panel. In `{state}`, because each change of them
        stands in the audit.
        """
        return f"{self._prefix}:{{state}}:people:{':'.join(parts)}"
