"""The real nginx with the shipped configuration, in which only names, ports and folders are this machine's."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.gateway_process import free_port, wait_until

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "deploy/nginx/nginx.conf"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")


@dataclass(frozen=True)
class Front:
    """A running nginx."""

    plain_port: int
    port: int
    folder: Path

    @property
    def origin(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca(self) -> Path:
        return self.folder / "fullchain.pem"

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    def connect(self, timeout: float = 20) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.tls().wrap_socket(plain, server_hostname="127.0.0.1")

    def lines(self) -> list[str]:
        return (self.folder / "access.log").read_text().splitlines()


def _certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "privkey.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _configuration(folder: Path, gateways: Sequence[int], plain_port: int, port: int) -> Path:
    text = CONFIG.read_text()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    first, second = (gateways * 2)[:2] if len(gateways) == 1 else gateways
    for old, new in (
        ("worker_processes auto;", "worker_processes 1; daemon off;"),
        ("worker_rlimit_nofile 65535;", ""),
        ("worker_connections 16384;", "worker_connections 512;"),
        ("pid /run/nginx.pid;", f"pid {folder}/pid;"),
        ("error_log /dev/stderr error;", f"error_log {folder}/error.log error;"),
        ("access_log /dev/stdout calls;", f"access_log {folder}/access.log calls; {folders}"),
        ("/etc/nginx/tls/", f"{folder}/"),
        ("listen 80;", f"listen 127.0.0.1:{plain_port};"),
        ("listen [::]:80;", ""),
        ("listen 443 ssl http2;", f"listen 127.0.0.1:{port} ssl http2;"),
        ("listen [::]:443 ssl http2;", ""),
        ("server 172.30.94.11:8080 ", f"server 127.0.0.1:{first} "),
        ("server 172.30.94.12:8080 ", f"server 127.0.0.1:{second} " if second != first else "#"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text)
    return folder / "nginx.conf"


@contextlib.contextmanager
def running_nginx(folder: Path, gateways: Sequence[int]) -> Iterator[Front]:
    assert NGINX is not None, "nginx is needed: apt-get install nginx"
    folder.mkdir(parents=True, exist_ok=True)
    _certificate(folder)
    front = Front(free_port(), free_port(), folder)
    config = _configuration(folder, gateways, front.plain_port, front.port)
    words = [NGINX, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
    tested = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(front.port), what="nginx")
        yield front
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
