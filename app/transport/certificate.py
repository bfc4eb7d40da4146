"""How long a server's certificate is still good, as a client that trusts what we trust sees it."""

from __future__ import annotations

import socket
import ssl

from app.transport.connect import tls_context
from app.transport.origin import Origin


def good_until(origin: Origin, ca_file: str, limit_s: float) -> float | None:
    """Seconds since the epoch; None where it does not say, or there is no such server. Waits for the network."""
    try:
        with (
            socket.create_connection((origin.host, origin.port), timeout=limit_s) as plain,
            tls_context(ca_file).wrap_socket(plain, server_hostname=origin.host) as secure,
        ):
            until = (secure.getpeercert() or {}).get("notAfter", "")
    except OSError:
        return None
    return float(ssl.cert_time_to_seconds(str(until))) if until else None
