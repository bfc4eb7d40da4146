"""The schema of the chart's values: its shape stands here, the names of settings come from the program.

python -m tests.test_deploy.values_schema > deploy/helm/openrouter-middleware/values.schema.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import SecretStr

from app.core.config import Settings

# What the chart says itself.
FIXED = {"HOST", "PORT", "DATA_DIR", "DRAIN_S"}
SECRETS = {name.upper() for name, one in Settings.model_fields.items() if one.annotation is SecretStr or not one.repr}
PLAIN = {name.upper() for name in Settings.model_fields} - SECRETS - FIXED

_TEXT = {"type": "string"}
_SWITCH = {"type": "boolean"}
_COUNT = {"type": "integer", "minimum": 1}
_WORDS = {"type": "object", "additionalProperties": _TEXT}
_ANY = {"type": "object"}
_LIST = {"type": "array", "items": {"type": "object"}}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}


def thing(**properties: Any) -> dict[str, Any]:
    """An object with these properties and no others."""
    return {"type": "object", "additionalProperties": False, "properties": properties}


def schema() -> dict[str, Any]:
    secret = thing(
        name={**_TEXT, "minLength": 1, "description": "A Secret that you make."},
        keys={
            "type": "object",
            "propertyNames": {"enum": sorted(SECRETS)},
            "additionalProperties": {**_TEXT, "minLength": 1},
            "required": ["SESSION_SECRET_KEY", "REDIS_URL", "METRICS_TOKEN"],
        },
    )
    values = thing(
        image=thing(
            repository={**_TEXT, "minLength": 1},
            tag={**_TEXT, "not": {"const": "latest"}},
            digest={**_TEXT, "pattern": "^(sha256:[0-9a-f]{64})?$"},
            pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
        ),
        imagePullSecrets=_LIST,
        replicas=_COUNT,
        settings={
            "type": "object",
            "propertyNames": {"enum": sorted(PLAIN)},
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        },
        secret={**secret, "required": ["name", "keys"]},
        drain=thing(
            preStopSeconds={"type": "integer", "minimum": 0, "maximum": 300},
            seconds={"type": "integer", "minimum": 1, "maximum": 86400},
        ),
        persistence=thing(enabled=_SWITCH, size=_TEXT, storageClass=_TEXT),
        resources=_ANY,
        autoscaling=thing(enabled=_SWITCH, minReplicas=_COUNT, maxReplicas=_COUNT, openCalls=_COUNT),
        podDisruptionBudget=thing(enabled=_SWITCH, maxUnavailable={"type": ["integer", "string"]}),
        service=thing(type={"enum": ["ClusterIP", "LoadBalancer", "NodePort"]}, port=_PORT),
        ingress=thing(enabled=_SWITCH, className=_TEXT, host=_TEXT, tlsSecret=_TEXT, annotations=_WORDS)
        | {
            "if": {"properties": {"enabled": {"const": True}}},
            "then": {"properties": {"host": {"minLength": 1}, "tlsSecret": {"minLength": 1}}},
        },
        networkPolicy=thing(
            enabled=_SWITCH,
            **{"from": _LIST},
            redis=thing(port=_PORT, to=_LIST),
            exceptNetworks={"type": "array", "items": _TEXT},
            exceptNetworks6={"type": "array", "items": _TEXT},
        ),
        serviceMonitor=thing(enabled=_SWITCH, interval=_TEXT, labels=_WORDS),
        serviceAccount=thing(annotations=_WORDS),
        podAnnotations=_WORDS,
        podLabels=_WORDS,
        nodeSelector=_WORDS,
        tolerations=_LIST,
        affinity=_ANY,
    )
    values["properties"]["global"] = _ANY  # helm gives it to every chart
    return {"$schema": "http://json-schema.org/draft-07/schema#", "required": ["secret"], **values}


def text() -> str:
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
