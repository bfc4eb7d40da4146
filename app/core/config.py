"""The one table of settings: names, types, defaults, help. It reads the environment and `.env`, and nothing else does.

It must never put a value into an error: any of them may be a secret pasted into the wrong line.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core import setting_checks
from app.core.redis_url import parse_redis_url
from app.core.upstream_url import UpstreamUrl, parse_upstream, split_http

MIN_SECRET_CHARACTERS: Final = 32
MOVABLE: Final = frozenset({"free_limit", "moderation", "guardrail", "region"})
EXAMPLE_SESSION_SECRET: Final = "replace-me-with-64-random-hex-digits"  # noqa: S105 - refused at start, that is its use
_WARNED_PREFIXES: Final = ("OPENROUTER_", "ADMIN_", "REDIS_", "OIDC_", "ALERT_", "WEBHOOK_")

_CHECKS: Final[Mapping[str, Callable[[Any], object]]] = {
    "webhook_url": setting_checks.webhooks, "smtp_url": setting_checks.smtp, "oidc_roles": setting_checks.group_roles,
}  # fmt: skip

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Words = Annotated[tuple[str, ...], NoDecode]
Percents = Annotated[tuple[int, ...], NoDecode]


class SettingsError(Exception):
    """Settings that cannot be used. The text lists every one of them and quotes no value."""


class Settings(BaseSettings):
    """Read once at start and handed down; the upper-case name of a field is its variable."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", case_sensitive=False, env_ignore_empty=True, hide_input_in_errors=True
    )

    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104 # nosec B104
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on.")
    workers: int = Field(1, ge=1, le=256, description="Processes that serve calls.")
    data_dir: Path = Field(Path("./data"), description="Folder for the embedded Redis and generated secrets.")
    debug: bool = Field(False, description="More detail in logs. Secrets stay hidden.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: colours in a terminal, else JSON."
    )
    log_served_share: float = Field(1.0, ge=0, le=1, description="Of served requests, how many get a line.")

    openrouter_api_keys: SecretStr = Field(
        SecretStr(""), description="OpenRouter keys to import at start, separated by commas or new lines."
    )
    allow_plain_http_upstream: bool = Field(
        False, description="Allow http:// to another machine. Keys travel unsealed."
    )
    openrouter_base_url: str = Field(
        "https://openrouter.ai/api/v1", description="OpenRouter's address; may end in the host, /api or /api/v1."
    )
    openrouter_ca_file: str = Field("", description="PEM file of authorities to trust besides the system's.")
    https_proxy: str = Field("", repr=False, description="HTTP proxy for calls to OpenRouter: http://host:port.")

    redis_url: str = Field(
        "",
        repr=False,
        description="Empty: a private Redis in DATA_DIR. Else redis://, rediss://, unix://, "
        "redis+sentinel://h1:26379,h2:26379/master or redis+cluster://h1:7000,h2:7001.",
    )
    redis_password: SecretStr = Field(SecretStr(""), description="Password, if it is not part of REDIS_URL.")
    redis_prefix: str = Field(
        "ormw", pattern=r"^[A-Za-z0-9_.:-]{1,64}$", description="First part of every key in Redis."
    )
    redis_pool_size: int = Field(50, ge=1, le=10_000, description="Most connections to Redis, for each worker.")
    redis_timeout_s: Seconds = Field(0.25, description="Longest wait for an answer of Redis.")
    allow_evicting_redis: bool = Field(False, description="Start although Redis may throw keys away when it is full.")

    session_secret_key: SecretStr = Field(
        SecretStr(""), description="At least 32 random characters. Required with REDIS_URL, else generated in DATA_DIR."
    )
    encryption_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys that seal OpenRouter keys: 2:<base64 of 32 bytes>,1:<base64…>. The first one seals. "
        "Empty: derived from SESSION_SECRET_KEY.",
    )
    client_key_pepper: SecretStr = Field(
        SecretStr(""), description="Secret of the client keys' hashes. Empty: derived from SESSION_SECRET_KEY."
    )

    admin_username: str = Field("admin", min_length=1, max_length=128, description="First administrator of the panel.")
    admin_password: SecretStr = Field(
        SecretStr(""), description="Password of the first administrator. Empty: generated at the first start."
    )
    playground: bool = Field(True, description="A page of the panel where people try models out.")
    session_idle_s: Seconds = Field(1800, description="A session of the panel ends when it is unused for so long.")
    session_max_s: float = Field(
        43_200, gt=0, le=2_592_000, allow_inf_nan=False, description="Longest life of a session of the panel."
    )

    allowed_hosts: Words = Field((), description="Names that calls may be addressed to, by commas. Empty: any.")
    allowed_origins: Words = Field((), description="Web origins that may call from a browser (CORS), by commas.")
    public_url: str = Field("", description="Address that people and programs reach the gateway at, for links.")
    trusted_proxies: Words = Field((), description="Addresses or networks whose X-Forwarded-For counts, by commas.")

    oidc_issuer: str = Field("", description="The provider's address; PUBLIC_URL must be set too. Empty: none.")
    oidc_client_id: str = Field("", description="What the provider calls this gateway.")
    oidc_client_secret: SecretStr = Field(SecretStr(""), description="The secret that the provider has given out.")
    oidc_name: str = Field("single sign-on", max_length=64, description="Name of the provider on the login page.")
    oidc_scopes: str = Field("openid email profile", description="What the provider is asked for, by spaces.")
    oidc_ca_file: str = Field("", description="PEM file of authorities to trust besides the system's.")
    oidc_allowed_domains: Words = Field((), description="Domains of e-mail addresses that may sign in, by commas.")
    oidc_allowed_groups: Words = Field((), description="Groups of which one is needed to sign in, by commas.")
    oidc_groups_claim: str = Field("groups", description="Where the provider tells somebody's groups.")
    oidc_roles: Words = Field((), description="Roles by group, by commas: admins=admin,developers=operator.")
    oidc_default_role: Literal["none", "viewer", "operator", "admin"] = Field(
        "none", description="Role of who is in none of these groups. none: they may not sign in."
    )

    max_body_bytes: int = Field(100 * 1024 * 1024, ge=1, description="Largest request body.")
    max_header_bytes: int = Field(16_384, ge=1024, description="Largest sum of a request's header lines.")
    max_headers: int = Field(64, ge=8, description="Most header lines of a request.")
    max_url_bytes: int = Field(4096, ge=256, description="Longest path and query of a request.")
    body_idle_timeout_s: Seconds = Field(15, description="Longest pause while a request body arrives.")

    connect_timeout_s: Seconds = Field(5, description="Longest wait for a connection to OpenRouter.")
    first_byte_timeout_s: Seconds = Field(120, description="Longest wait for the first byte of an answer.")
    idle_timeout_s: Seconds = Field(60, description="Longest pause within an answer.")
    upstream_connections: int = Field(1000, ge=1, description="Most connections to OpenRouter, for each worker.")
    upstream_warm_connections: int = Field(2, ge=0, description="Connections opened at start.")
    max_attempts: int = Field(3, ge=1, le=20, description="Most keys tried for one call.")
    overload_lag_s: float = Field(0.5, ge=0, description="Above it, for 2 s, new calls get a 503. 0: never.")
    memory_limit_mb: int = Field(0, ge=0, description="At 95 % new calls get a 503. 0: what the container has.")
    drain_s: float = Field(30, ge=0, le=86_400, description="Time that running streams get to end when stopping.")
    catalogue_ttl_s: Seconds = Field(300, description="Age at which the cached list of models is refreshed.")

    pool_strategy: Literal[
        "balanced", "round_robin", "weighted", "least_used", "least_recent", "random", "most_credit", "tiers"
    ] = Field("balanced", description="How the next OpenRouter key is chosen, until it is switched at run time.")
    move_account_on: Words = Field(
        (),
        description="Refusals after which a call may go to another account: free_limit, moderation, guardrail, region. "
        "Empty: none. OpenRouter's terms may forbid it.",
    )
    rescue_deadline_s: Seconds = Field(60, description="Time after which a call is not tried again.")
    retry_share: float = Field(0.2, ge=0, le=1, description="Most further tries, as a share of recent calls.")
    first_token_wait_s: Seconds = Field(20, description="Longest time that an answer is held until it says something.")
    heartbeat_s: float = Field(15, ge=0, le=3600, description="Silence after which a stream gets a comment. 0: never.")
    probe_interval_s: Seconds = Field(300, description="Time between two free checks of the same OpenRouter key.")
    probes_per_s: float = Field(2, gt=0, le=100, description="Most checks of OpenRouter keys in a second.")
    rotate_every_days: int = Field(0, ge=0, le=3650, description="Age at which managed keys are renewed. 0: never.")
    rotate_before_expiry_days: int = Field(7, ge=0, le=365, description="Renew managed keys this long before they end.")
    rotate_quarantine_h: float = Field(24, ge=0, le=8760, description="Time a renewed key stays disabled, not deleted.")

    without_redis_rates: Literal["share", "allow", "refuse"] = Field(
        "share", description="Rates while Redis is away. share: each worker allows its part of the limit."
    )
    without_redis_budgets: Literal["remainder", "refuse"] = Field(
        "remainder",
        description="Money limits while Redis is away. remainder: go on with what was last known to be left.",
    )
    journal_sync: Literal["second", "always"] = Field(
        "second",
        description="When the journal of unsettled calls is on disk. always: before the first byte of each answer. "
        "second: within a second; only a power cut can lose it.",
    )
    ledger_entries: int = Field(200_000, ge=1000, le=100_000_000, description="Most calls kept one by one in Redis.")
    ledger_days: int = Field(30, ge=1, le=3650, description="Longest time that single calls are kept.")
    keep_bodies_h: float = Field(24, gt=0, le=8760, description="Life of kept bodies, for clients that have them kept.")
    reconcile_at_h: int = Field(2, ge=0, le=23, description="Hour (UTC) of the nightly comparison with OpenRouter.")

    metrics_token: SecretStr = Field(SecretStr(""), description="Who scrapes /metrics sends it. Empty: no metrics.")
    otel_exporter_otlp_endpoint: str = Field(
        "", description="Collector (OTLP/HTTP) of traces and metrics. Empty: none."
    )
    otel_service_name: str = Field(
        "openrouter-middleware", min_length=1, description="What a collector is told we are."
    )

    alert_at: Percents = Field((50, 80, 95), description="Percents of a money limit at which somebody is told.")
    alert_ready_keys: int = Field(2, ge=0, le=10_000, description="Tell when fewer keys of the pool are ready.")
    alert_expiry_days: int = Field(7, ge=0, le=365, description="Tell so long before an OpenRouter key ends. 0: never.")
    alert_failed_sign_ins: int = Field(
        20, ge=0, le=100_000, description="Tell when so many sign-ins fail within an hour. 0: never."
    )
    alert_cooldown_h: float = Field(
        4, ge=0, le=720, allow_inf_nan=False, description="The same is not told again within this time."
    )
    webhook_url: str = Field(
        "",
        repr=False,
        description="Where alerts are sent, several by commas. slack+https://… tells the format of one.",
    )
    webhook_format: Literal["auto", "json", "slack", "discord", "teams", "ntfy"] = Field(
        "auto", description="How webhooks are written. auto: by the receiver's host, else JSON."
    )
    webhook_secret: SecretStr = Field(SecretStr(""), description="Signs alerts (Standard Webhooks): whsec_<base64>.")
    webhook_to_private: bool = Field(False, description="Alerts, mail too, may go to addresses of the own network.")
    smtp_url: str = Field(
        "",
        repr=False,
        description="Server that sends alerts by mail: smtps://user:password@host:465, or smtp://…:587 with STARTTLS.",
    )
    alert_email_from: str = Field("", description="Sender of mail. Empty: the first of ALERT_EMAIL_TO.")
    alert_email_to: Words = Field((), description="Who gets mail, by commas.")
    alert_ca_file: str = Field("", description="PEM file of authorities to trust besides the system's, for alerts.")

    @cached_property
    def upstream(self) -> UpstreamUrl:
        return parse_upstream(self.openrouter_base_url, allow_plain_http=self.allow_plain_http_upstream)

    @property
    def webhooks(self) -> tuple[tuple[str, str], ...]:
        """Format and address of each; the format is empty where the host tells it."""
        given = "" if self.webhook_format == "auto" else self.webhook_format
        return tuple((own or given, url) for own, url in setting_checks.webhooks(self.webhook_url))

    @property
    def embedded_redis(self) -> bool:
        return not self.redis_url

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator(
        "allowed_hosts", "allowed_origins", "trusted_proxies", "move_account_on", "alert_at",
        "alert_email_to", "oidc_allowed_domains", "oidc_allowed_groups", "oidc_roles", mode="before",
    )  # fmt: skip
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value

    @field_validator("openrouter_base_url")
    @classmethod
    def _usable_upstream(cls, value: str, info: ValidationInfo) -> str:
        parse_upstream(value, allow_plain_http=bool(info.data.get("allow_plain_http_upstream")))
        return value

    @field_validator("openrouter_ca_file", "oidc_ca_file", "alert_ca_file")
    @classmethod
    def _readable_file(cls, value: str) -> str:
        if value and not os.access(value, os.R_OK):
            raise ValueError("must name a file that can be read")
        return value

    @field_validator("https_proxy")
    @classmethod
    def _usable_proxy(cls, value: str) -> str:
        # Its user and password are allowed, so they are taken away before the common check.
        if value:
            scheme, separator, rest = value.partition("://")
            split_http(scheme + separator + rest.rpartition("@")[2])
        return value

    @field_validator("redis_url")
    @classmethod
    def _usable_redis_url(cls, value: str) -> str:
        if value:
            parse_redis_url(value)
        return value

    @field_validator("session_secret_key")
    @classmethod
    def _strong_secret(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        secret = value.get_secret_value()
        if not secret and not info.data.get("redis_url"):
            return value
        if not secret:
            raise ValueError("is required with REDIS_URL: at least 32 random characters (openssl rand -hex 32)")
        if secret == EXAMPLE_SESSION_SECRET:
            raise ValueError("is the example's: choose your own (openssl rand -hex 32)")
        if len(secret) < MIN_SECRET_CHARACTERS:
            raise ValueError("must have at least 32 characters (openssl rand -hex 32)")
        return value

    @field_validator("admin_password")
    @classmethod
    def _no_known_password(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        setting_checks.admin_password(value.get_secret_value(), str(info.data.get("admin_username")))
        return value

    @field_validator("encryption_keys")
    @classmethod
    def _usable_ring(cls, value: SecretStr) -> SecretStr:
        setting_checks.encryption_keys(value.get_secret_value())
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return setting_checks.host_names(value)

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(origin != "*" and split_http(origin)[3] for origin in value):
            raise ValueError("must be origins like https://app.example.com, separated by commas")
        return value

    @field_validator("move_account_on")
    @classmethod
    def _refusals(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= MOVABLE:
            raise ValueError(f"must be some of {', '.join(sorted(MOVABLE))}, separated by commas")
        return value

    @field_validator("alert_at")
    @classmethod
    def _percents(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not all(0 < percent <= 100 for percent in value):
            raise ValueError("must be whole numbers from 1 to 100, separated by commas")
        return tuple(sorted(set(value)))

    @field_validator("alert_email_from", "alert_email_to")
    @classmethod
    def _mailboxes(cls, value: str | tuple[str, ...], info: ValidationInfo) -> str | tuple[str, ...]:
        setting_checks.mailboxes((value,) if isinstance(value, str) else value, sent=bool(info.data.get("smtp_url")))
        return value

    @field_validator("public_url", "otel_exporter_otlp_endpoint")
    @classmethod
    def _usable_public_url(cls, value: str) -> str:
        if value:
            split_http(value)
        return value.rstrip("/")

    @field_validator("oidc_issuer")
    @classmethod
    def _usable_issuer(cls, value: str, info: ValidationInfo) -> str:
        setting_checks.issuer(value, info.data.get("public_url") or "")
        return value

    @field_validator("oidc_default_role")
    @classmethod
    def _not_everybody(cls, value: str, info: ValidationInfo) -> str:
        told = info.data
        bounded = bool(told.get("oidc_allowed_domains") or told.get("oidc_allowed_groups"))
        setting_checks.default_role(value, provider=bool(told.get("oidc_issuer")), bounded=bounded)
        return value

    @field_validator(*_CHECKS)
    @classmethod
    def _checked(cls, value: Any, info: ValidationInfo) -> Any:
        _CHECKS[str(info.field_name)](value)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return setting_checks.networks(value)


def load_settings(env_file: str | Path | None = ".env") -> Settings:
    """Raises SettingsError naming every setting that cannot be used."""
    options: dict[str, Any] = {"_env_file": env_file, "_env_file_encoding": "utf-8"}
    try:
        return Settings(**options)
    except ValidationError as error:
        lines = sorted({_sentence(dict(problem)) for problem in error.errors(include_input=False, include_url=False)})
    except (OSError, UnicodeDecodeError):
        lines = ["  .env cannot be read as UTF-8 text"]
    noun = "1 setting is" if len(lines) == 1 else f"{len(lines)} settings are"
    raise SettingsError("\n".join([f"{noun} not usable:", *lines]))


def _sentence(problem: Mapping[str, Any]) -> str:
    name = str(problem["loc"][0]).upper() if problem["loc"] else "settings"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"  {name} {re.sub('^(Input|String|Value) should', 'must', message)}"


def unknown_names(env_file: str | Path | None = ".env", environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Sentences about variables that look like ours and are not, so that a typing mistake is seen."""
    known = {name.upper() for name in Settings.model_fields}
    names = {name.upper() for name in (os.environ if environ is None else environ)}
    if env_file is not None and Path(env_file).is_file():
        names |= {name.upper() for name in dotenv_values(env_file, encoding="utf-8")}
    strangers = sorted(name for name in names - known if name.startswith(_WARNED_PREFIXES))
    return tuple(_stranger(name, known) for name in strangers)


def _stranger(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8)
    return f"{name} is not a setting" + (f": did you mean {close[0]}?" if close else ".")
