"""Every way the gateway itself can refuse or fail, as data. How it is shown belongs to the planes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Fault(StrEnum):
    """Whose fault an error is. It decides the log level and, later, who is blamed."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    GATEWAY = "gateway"


@dataclass(eq=False)
class GatewayError(Exception):
    """An answer that the gateway gives in its own name. (Not frozen: `raise` has to write into it.)

    `error_type` is OpenRouter's vocabulary where a word fits (`authentication`, `payload_too_large`, …), else ours.
    `message` says what is wrong, `hint` what to do; neither may hold anything the caller sent.
    """

    status: int
    error_type: str
    message: str
    hint: str = ""
    fault: Fault = Fault.CLIENT
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())
    close: bool = False
    """Whether the connection ends with the answer, because what follows on it cannot be trusted."""

    def __str__(self) -> str:
        return f"{self.status} {self.error_type}: {self.message}"
