"""A small OpenID provider over loopback sockets: discovery, authorization, tokens, keys, userinfo. Its faults can be
chosen, one at a time.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT = "gateway"
SECRET = "oidc secret: 100 % canary"


@dataclass
class Provider:
    """`person` is who signs in, `fault` what goes wrong; `now_s` is its clock."""

    port: int = 0
    person: dict[str, Any] = field(default_factory=lambda: {"sub": "u1"})
    userinfo: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    now_s: float | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rotate()
        self._other = RSAKey.generate_key(2048, {"kid": self._key.kid})

    def rotate(self) -> None:
        self._key = RSAKey.generate_key(2048, {"kid": f"k{time.monotonic_ns()}"})

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}/realm"

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": "http://127.0.0.1:1/other" if self.fault == "metadata issuer" else self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?tenant=a",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
        }

    def authorize(self, url: str) -> str:
        """What a person does there: they sign in; the address that the browser is sent back to."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        self.asked.append(asked)
        if self.fault == "denied":
            return f"{asked['redirect_uri']}?{urlencode({'error': 'access_denied', 'state': asked['state']})}"
        code = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        self.codes[code] = asked
        back = {"code": code, "state": asked["state"], "iss": self.issuer}
        if self.fault == "iss":
            back["iss"] = "https://mixed.up.example"
        return f"{asked['redirect_uri']}?{urlencode(back)}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        client, _, secret = pair.partition(":")
        asked = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode()
        right = (
            (unquote(client), unquote(secret)) == (CLIENT, SECRET)
            and asked is not None
            and asked["code_challenge"] == challenge.rstrip("=")
            and asked["code_challenge_method"] == "S256"
            and asked["redirect_uri"] == form["redirect_uri"]
        )
        if not right or asked is None or self.fault == "token status":
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "access", "token_type": "Bearer", "id_token": self.id_token(asked)}

    def id_token(self, asked: dict[str, str]) -> str:
        now_s = int(time.time() if self.now_s is None else self.now_s)
        claims: dict[str, Any] = {
            "iss": self.issuer, "aud": CLIENT, "iat": now_s, "exp": now_s + 300, "nonce": asked["nonce"],
            "auth_time": now_s,
        }  # fmt: skip
        claims |= self.person
        match self.fault:
            case "nonce":
                claims["nonce"] = "other"
            case "no nonce":
                del claims["nonce"]
            case "audience":
                claims["aud"] = "somebody else"
            case "two audiences":
                claims["aud"] = [CLIENT, "somebody else"]
            case "issuer":
                claims["iss"] = "https://other.example"
            case "expired":
                claims["exp"] = now_s - 600
            case "stale":
                claims["auth_time"] = now_s - 3600
            case "no auth_time":
                del claims["auth_time"]
            case "none":
                head = {"alg": "none", "kid": self._key.kid}
                parts = [
                    base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (head, claims)
                ]
                return ".".join([*parts, ""])
            case "shared secret":
                public = self._key.as_pem(private=False)
                return jwt.encode({"alg": "HS256", "kid": self._key.kid}, claims, OctKey.import_key(public))
        key = self._other if self.fault == "signature" else self._key
        return jwt.encode({"alg": "RS256", "kid": self._key.kid}, claims, key)


class _Handler(BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        provider, path = self.provider, urlsplit(self.path).path.removeprefix("/realm")
        provider.paths.append(path)
        if path == "/.well-known/openid-configuration":
            self._answer(503 if provider.fault == "away" else 200, provider.metadata())
        elif path == "/keys":
            self._answer(200, {"keys": [provider._key.as_dict(private=False)]})
        elif path == "/userinfo" and self.headers["authorization"] == "Bearer access":
            self._answer(200, {"sub": provider.person.get("sub")} | provider.userinfo)
        elif path == "/authorize":
            self.send_response(302)
            self.send_header("location", provider.authorize(self.path))
            self.send_header("content-length", "0")
            self.end_headers()
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self._answer(*self.provider.token(form, self.headers.get("authorization", "")))

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = b"<html>" if self.provider.fault == "not json" else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def running_provider() -> Iterator[Provider]:
    provider = Provider()
    handler = type("Handler", (_Handler,), {"provider": provider})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    provider.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
