"""OpenRouter's own description of its API: found outside the repository, made into requests, and mocked by Prism.

The files are OpenRouter's, so they are never copied here; in Prism's temporary copy the paths are moved below /api/v1.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import yaml

from tests.gateway_process import ROOT, free_port, wait_until
from tests.test_integration import node_tools
from tests.test_integration.samples import PNG

FOLDER = Path(os.environ.get("OPENROUTER_OPENAPI_DIR") or ROOT / ".." / "shared" / "reference").resolve()
ENDPOINTS = FOLDER / "openrouter-endpoints.json"
OPENAPI = FOLDER / "openrouter-openapi.yaml"
ABSENT = (
    "LOUD: OpenRouter's OpenAPI file is not here, so not every operation was tried. "
    "Set OPENROUTER_OPENAPI_DIR to the folder with openrouter-openapi.yaml and openrouter-endpoints.json"
)
FOUND = ENDPOINTS.is_file() and OPENAPI.is_file()
_BOUNDARY = "operation-boundary"
_TEXTS = {
    "uuid": "550e8400-e29b-41d4-a716-446655440000",
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "uri": "https://example.com",
    "email": "a@example.com",
}


@dataclass(frozen=True)
class Operation:
    """One line of the table of operations."""

    method: str
    path: str
    auth: str
    streaming: bool
    codes: tuple[str, ...]
    in_spec: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Request:
    """A request that fits an operation, its target below /api."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


def operations() -> list[Operation]:
    """Every operation that is known; none where the files are absent."""
    if not FOUND:
        return []
    found = []
    for line in json.loads(ENDPOINTS.read_text()):
        path = line["path"] if line["path"].startswith("/api/") else f"/api/v1{line['path']}"
        in_spec = str(line["source"]).startswith("spec")
        found.append(Operation(line["method"], path, line["auth"], line["streaming"], tuple(line["codes"]), in_spec))
    return found


@cache
def spec() -> dict[str, Any]:
    """The OpenAPI file, its paths below /api/v1 as on the wire."""
    whole = yaml.load(OPENAPI.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    whole["paths"] = {f"/api/v1{path}": item for path, item in whole["paths"].items()}
    whole["servers"] = [{"url": "http://127.0.0.1"}]
    return dict(whole)


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    """A schema, parameter or answer with its reference followed."""
    while "$ref" in value:
        target: Any = spec()
        for name in value["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        value = target
    return value


def sample(schema: dict[str, Any], depth: int = 0) -> Any:
    """A small value that fits: the file's own example where there is one."""
    schema = resolved(schema)
    for name in ("example", "default", "const"):
        if name in schema:
            return schema[name]
    for name in ("examples", "enum"):
        if schema.get(name):
            return schema[name][0]
    for name in ("oneOf", "anyOf"):
        if schema.get(name):
            return sample(schema[name][0], depth + 1)
    if schema.get("allOf"):
        parts = [sample(part, depth + 1) for part in schema["allOf"]]
        merged = {name: value for part in parts if isinstance(part, dict) for name, value in part.items()}
        return merged or parts[0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        wanted = schema.get("required", [])
        fields = schema.get("properties", {}) if depth <= 6 else {}
        return {name: sample(part, depth + 1) for name, part in fields.items() if name in wanted}
    if kind == "array":
        return [sample(schema.get("items", {}), depth + 1)] if schema.get("minItems", 0) else []
    if kind == "string":
        return _TEXTS.get(schema.get("format", ""), "x" * schema.get("minLength", 1))
    return {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1), "boolean": True}.get(kind)


def request_of(operation: Operation, values: dict[str, str] | None = None) -> list[Request]:
    """Requests that fit the operation, one for each type of body it takes; `values` sets named parameters."""
    item = spec()["paths"].get(operation.path, {}) if operation.in_spec else {}
    details = item.get(operation.method.lower(), {})
    query: list[tuple[str, str]] = []
    chosen = dict(values or {})
    for raw in [*item.get("parameters", []), *details.get("parameters", [])]:
        parameter = resolved(raw)
        value = parameter.get("example", sample(parameter.get("schema", {})))
        if parameter["in"] == "path":
            chosen.setdefault(parameter["name"], str(value))
        elif parameter["in"] == "query" and (parameter.get("required") or parameter["name"] in chosen):
            query.append((parameter["name"], chosen.get(parameter["name"], str(value))))
    path = re.sub(r"\{(\w+)\}", lambda match: quote(chosen.get(match[1], "sample-1"), safe=""), operation.path)
    target = path + (f"?{urlencode(query)}" if query else "")
    return [Request(operation.method, target, headers, body) for headers, body in _bodies(details, operation)]


def _bodies(details: dict[str, Any], operation: Operation) -> list[tuple[tuple[tuple[str, str], ...], bytes | None]]:
    content = resolved(details.get("requestBody", {})).get("content", {})
    found: list[tuple[tuple[tuple[str, str], ...], bytes | None]] = []
    for kind, media in content.items():
        if kind == "multipart/form-data":
            found.append(((("Content-Type", f"{kind}; boundary={_BOUNDARY}"),), _form(media)))
        else:
            examples = [one.get("value") for one in media.get("examples", {}).values()]
            value = media.get("example", examples[0] if examples else sample(media["schema"]))
            found.append(((("Content-Type", kind),), json.dumps(value, separators=(", ", " : ")).encode()))
    if not found and not operation.in_spec and operation.method in {"POST", "PUT", "PATCH"}:
        form = operation.path.endswith("/oauth/token")
        kind, body = (
            ("application/x-www-form-urlencoded", b"a=b") if form else ("application/json", b'{ "model":"a/b" }')
        )
        found.append(((("Content-Type", kind),), body))
    return found or [((), None)]


def _form(media: dict[str, Any]) -> bytes:
    schema = resolved(media["schema"])
    parts = []
    for name, field in schema.get("properties", {}).items():
        if resolved(field).get("format") == "binary" or "contentMediaType" in resolved(field):
            head = f'Content-Disposition: form-data; name="{name}"; filename="a.png"\r\nContent-Type: image/png'
            parts.append(head.encode() + b"\r\n\r\n" + PNG)
        elif name in schema.get("required", []):
            parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n{sample(field)}'.encode())
    return (
        b"".join(b"--%b\r\n%b\r\n" % (_BOUNDARY.encode(), part) for part in parts) + b"--%b--\r\n" % _BOUNDARY.encode()
    )


@contextmanager
def running_prism() -> Iterator[str]:
    """The origin of a Prism that mocks the OpenAPI file. It starts in some seconds."""
    node = node_tools.node()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="prism-") as folder:
        copy = Path(folder) / "openapi.json"
        copy.write_text(json.dumps(spec(), default=str))
        program = node_tools.HERE / "node_modules" / "@stoplight" / "prism-cli" / "dist" / "index.js"
        log = Path(folder) / "log"
        with log.open("wb") as output:
            words = [node, str(program), "mock", "-h", "127.0.0.1", "-p", str(port), "-v", "error", str(copy)]
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: _answers(port, process, log), within_s=90, what="Prism")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _answers(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, f"Prism ended: {log.read_text()[-2000:]}"
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/nothing", timeout=2):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
