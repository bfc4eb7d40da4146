from __future__ import annotations

import re

import pytest

from app.core.keyspace import Keyspace

KEYS = Keyspace("gw")


def test_what_one_change_touches_shares_a_slot() -> None:
    """Records, version and audit carry one hash tag, so that one script may write all of them in a cluster."""
    names = [KEYS.openrouter_keys, KEYS.client_keys, KEYS.version, KEYS.audit, KEYS.changes, KEYS.store_mark]

    assert {re.findall(r"\{(.*?)\}", name)[0] for name in names} == {"state"}
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (KEYS.openrouter_keys, "gw:{state}:openrouter-keys"),
        (KEYS.client_keys, "gw:{state}:client-keys"),
        (KEYS.version, "gw:{state}:version"),
        (KEYS.audit, "gw:{state}:audit"),
        (KEYS.audit_head, "gw:{state}:audit-head"),
        (KEYS.groups, "gw:{state}:groups"),
        (KEYS.store_mark, "gw:{state}:store-mark"),
        (KEYS.changes, "gw:{state}:changes"),
        (KEYS.owner("generation", "gen-1"), "gw:owner:{generation:gen-1}"),
        (KEYS.catalogue("ab12"), "gw:catalogue:{ab12}"),
        (KEYS.marks, "gw:{state}:marks"),
        (KEYS.mark_changes, "gw:{state}:mark-changes"),
        (KEYS.key_facts, "gw:{state}:key-facts"),
        (KEYS.fact_changes, "gw:{state}:fact-changes"),
        (KEYS.lease("probes"), "gw:{state}:lease:probes"),
        (KEYS.fence("probes"), "gw:{state}:fence:probes"),
        (KEYS.lock("models"), "gw:lock:{models}"),
        (KEYS.spent("c1", "day"), "gw:spent:{c1}:day"),
        (KEYS.books("spent", "c:ck_1", "total"), "gw:{books}:spent:c:ck_1:total"),
    ],
)
def test_names(made: str, name: str) -> None:
    """Every name begins with the prefix and is what earlier versions wrote."""
    assert made == name
