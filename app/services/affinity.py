"""What belongs together goes to the same account, so that its caches stay warm: by rendezvous hashing. Pure.

It ranks names, the same in every worker and on every host; which of them can serve is for others.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Iterable
from hashlib import blake2b
from heapq import nlargest
from typing import Final

_PRIME: Final = 2**61 - 1
_SLOTS: Final = 8192
_RANKED: Final = 8
_MOST_HASHED: Final = 4096


def affinity(
    *, session_id: str, prompt_cache_key: str, header_session: str, client_id: str, model: str, first_messages: bytes
) -> bytes:
    """A digest of what makes calls belong together; nothing where nothing does. No two clients share a session."""
    if session := session_id or header_session:
        text = f"s\0{client_id}\0{session}"
    elif prompt_cache_key:
        text = f"p\0{client_id}\0{prompt_cache_key}"
    elif first_messages:
        text = f"m\0{client_id}\0{model}\0"
    else:
        return b""
    told = text.encode("utf-8", "surrogatepass")
    if text[0] == "m":
        told += first_messages[:_MOST_HASHED]
    return blake2b(told, digest_size=8).digest()


def account_slot(digest: bytes) -> int:
    return (digest[0] << 8 | digest[1]) % _SLOTS


def key_slot(digest: bytes) -> int:
    """Independent of the account's, or else an account's keys would not share its sessions evenly."""
    return (digest[2] << 8 | digest[3]) % _SLOTS


class Rendezvous:
    """Ranks names for slots: each slot's names by a score that both together give.

    A name that comes or goes moves only the slots that it wins. Ranks are worked out once and kept.
    """

    __slots__ = ("_ranked", "_seeds")

    def __init__(self, names: Collection[str] = ()) -> None:
        self._seeds: dict[str, int] = {}
        self._ranked: dict[int, list[tuple[int, str]]] = {}
        self.follow(names)

    def follow(self, names: Collection[str]) -> None:
        """Takes over the names as they are now."""
        now = set(names)
        gone = self._seeds.keys() - now
        for name in gone:
            del self._seeds[name]
        if gone:
            kept = self._ranked.items()
            self._ranked = {slot: ranks for slot, ranks in kept if gone.isdisjoint(name for _, name in ranks)}
        for name in sorted(now - self._seeds.keys()):
            self._seeds[name] = seed = _number(name.encode("utf-8", "surrogatepass"))
            for slot, ranks in self._ranked.items():
                insort(ranks, (-(seed * _slot_number(slot) % _PRIME), name))
                del ranks[_RANKED:]

    def __len__(self) -> int:
        return len(self._seeds)

    def ranked(self, slot: int) -> list[tuple[int, str]]:
        """The first names for a slot, as (number, name), the best first. Enough of them to fail over."""
        ranks = self._ranked.get(slot)
        if ranks is None:
            factor = _slot_number(slot)
            scores = [(seed * factor % _PRIME, name) for name, seed in self._seeds.items()]
            ranks = self._ranked[slot] = [(-score, name) for score, name in nlargest(_RANKED, scores)]
            ranks.sort()
        return ranks

    def sort(self, slot: int, names: Iterable[str]) -> list[str]:
        """These names, all of which it follows, the best first: for when the first ranks are all out."""
        factor = _slot_number(slot)
        return sorted(names, key=lambda name: (-(self._seeds[name] * factor % _PRIME), name))


def _number(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest()) % _PRIME or 1


_slot_numbers: dict[int, int] = {}


def _slot_number(slot: int) -> int:
    number = _slot_numbers.get(slot)
    if number is None:
        number = _slot_numbers[slot] = _number(b"slot %d" % slot)
    return number
