"""Counters and distributions of this process, as plain as can be: every call counts in some of them. What they come to
over several processes is a sum of pictures. Knows neither calls nor any format.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Sequence
from enum import StrEnum
from operator import add
from typing import Final

import msgspec

Labels = tuple[str, ...]
OTHER: Final = "other"
_MOST_ROWS: Final = 2000
"""Of one family. More is a mistake in what labels are made of: the rest is counted as `other`."""


class Kind(StrEnum):
    """`MAX` is a gauge of which the workers' highest is told, `GAUGE` one of which it is the sum."""

    COUNTER = "counter"
    GAUGE = "gauge"
    MAX = "max"
    HISTOGRAM = "histogram"


class Shape(msgspec.Struct, frozen=True):
    """`parts`: how many of what is counted make one of the unit that is told. `bounds`: of a histogram, in the latter;
    a last one for everything is added.
    """

    name: str
    help: str
    kind: Kind
    labels: Labels = ()
    parts: int = 1
    bounds: tuple[float, ...] = ()

    @property
    def identity(self) -> Hashable:
        """Where two agree in this, they count the same: only the words about it may differ."""
        return self.name, self.kind, self.labels, self.parts, self.bounds


class Family(msgspec.Struct, frozen=True):
    """A picture of one family. A row holds one number; of a histogram a count for each bound and the sum."""

    shape: Shape
    rows: dict[str, list[float]]
    """By labels, joined by a character that they do not hold."""


_JOINT: Final = "\x1f"


def labels_of(row: str, shape: Shape) -> Labels:
    return tuple(row.split(_JOINT)) if shape.labels else ()


class Counter:
    """Counts whole parts: no sum drifts, however long it runs."""

    __slots__ = ("_rows", "shape")

    def __init__(self, name: str, help: str, *labels: str, parts: int = 1) -> None:  # noqa: A002 - the field's word
        self.shape: Final = Shape(name, help, Kind.COUNTER, labels, parts)
        self._rows: dict[Labels, int] = {} if labels else {(): 0}

    def add(self, labels: Labels = (), amount: int = 1) -> None:
        rows = self._rows
        if labels in rows:
            rows[labels] += amount
        else:
            _put(rows, labels, amount)

    def picture(self) -> Family:
        return Family(self.shape, {_JOINT.join(labels): [count] for labels, count in self._rows.items()})


class Gauge:
    """Holds what was last set."""

    __slots__ = ("_rows", "shape")

    def __init__(self, name: str, help: str, *labels: str, kind: Kind = Kind.GAUGE) -> None:  # noqa: A002
        self.shape: Final = Shape(name, help, kind, labels)
        self._rows: dict[Labels, float] = {}

    def set(self, value: float, labels: Labels = ()) -> None:
        if labels in self._rows or len(self._rows) < _MOST_ROWS:
            self._rows[labels] = value

    def clear(self) -> None:
        self._rows.clear()

    def picture(self) -> Family:
        return Family(self.shape, {_JOINT.join(labels): [value] for labels, value in self._rows.items()})


class Histogram:
    """Counts by bounds. Values are added in parts, such as milliseconds, and told in the unit, such as seconds."""

    __slots__ = ("_bounds", "_rows", "shape")

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002
        *labels: str,
        bounds: Sequence[float],
        parts: int = 1,
    ) -> None:
        self.shape: Final = Shape(name, help, Kind.HISTOGRAM, labels, parts, tuple(bounds))
        self._bounds: Final = [bound * parts for bound in bounds]
        self._rows: dict[Labels, list[float]] = {}

    def observe(self, value: float, labels: Labels = ()) -> None:
        row = self._rows.get(labels)
        if row is None:
            if len(self._rows) >= _MOST_ROWS:
                labels = (OTHER,) * len(labels)
            row = self._rows.setdefault(labels, [0] * (len(self._bounds) + 2))
        row[bisect_left(self._bounds, value)] += 1
        row[-1] += value

    def picture(self) -> Family:
        return Family(self.shape, {_JOINT.join(labels): row[:] for labels, row in self._rows.items()})


def _put(rows: dict[Labels, int], labels: Labels, amount: int) -> None:
    if len(rows) >= _MOST_ROWS:
        labels = (OTHER,) * len(labels)
    rows[labels] = rows.get(labels, 0) + amount


def summed(pictures: Iterable[Iterable[Family]]) -> list[Family]:
    """What several processes have counted together. What is not of the same shape is kept apart."""
    found: dict[Hashable, Family] = {}
    for picture in pictures:
        for family in picture:
            known = found.get(family.shape.identity)
            if known is None:
                known = found[family.shape.identity] = Family(family.shape, {})
            _add(known, family)
    return list(found.values())


def merged(pictures: Iterable[Iterable[Family]]) -> list[Family]:
    """What several processes tell together. Of a family with two shapes, the first one counts."""
    found: dict[str, Family] = {}
    for family in summed(pictures):
        found.setdefault(family.shape.name, family)
    return list(found.values())


def _add(known: Family, more: Family) -> None:
    shape = known.shape
    width = len(shape.bounds) + 2 if shape.kind is Kind.HISTOGRAM else 1
    join = max if shape.kind is Kind.MAX else add
    for row, cells in more.rows.items():
        if len(cells) != width or len(labels_of(row, shape)) != len(shape.labels):
            continue  # written by no gateway
        mine = known.rows.get(row)
        if mine is None and len(known.rows) >= _MOST_ROWS:
            row = _JOINT.join((OTHER,) * len(shape.labels))
            mine = known.rows.get(row)
        known.rows[row] = cells[:] if mine is None else list(map(join, mine, cells))


def lasting(picture: Iterable[Family]) -> list[Family]:
    """What stays true of a process that has ended: what it counted, and not what it held."""
    return [family for family in picture if family.shape.kind in (Kind.COUNTER, Kind.HISTOGRAM)]
