"""What one call owes, from its admission to its entry in the ledger. Holds facts, and does nothing by itself."""

from __future__ import annotations

from typing import Final

from app.services.settle_records import Sent, entry_id
from app.services.spending import Purse


class Account:
    """`hold` names what the call has reserved; `nano` and `tokens` (input, output) say how much."""

    __slots__ = (
        "closed",
        "first_sequence",
        "generation_id",
        "held",
        "hold",
        "id",
        "nano",
        "number",
        "purses",
        "sent",
        "spenders",
        "tokens",
    )

    def __init__(self, number: int, journal: str) -> None:
        self.number = number
        self.id = entry_id(journal, number)
        self.hold = str(number)
        self.held = False
        self.nano = 0
        self.tokens = (0, 0)
        self.spenders: tuple[str, ...] = ()
        self.purses: tuple[Purse, ...] = ()
        self.sent: Sent | None = None
        self.generation_id = ""
        self.first_sequence = 0
        self.closed = False


NO_ACCOUNT: Final = Account(0, "")
