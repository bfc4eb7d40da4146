"""Counting is exact, bounded, and adds up over processes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import metrics
from app.core.metrics import Counter, Family, Gauge, Histogram, Kind, Shape, labels_of, lasting, merged, summed


def numbers(family: Family) -> dict[tuple[str, ...], list[float]]:
    return {labels_of(row, family.shape): cells for row, cells in family.rows.items()}


def test_a_counter_counts_by_labels() -> None:
    """Each set of labels by itself; without labels it begins at zero, so that a first count is seen as an increase."""
    plain, labelled = Counter("plain", "Words."), Counter("labelled", "Words.", "of", "by")
    labelled.add(("a", "b"))
    labelled.add(("a", "b"), 4)
    labelled.add(("a", ""))

    assert numbers(plain.picture()) == {(): [0]}
    assert numbers(labelled.picture()) == {("a", "b"): [5], ("a", ""): [1]}


def test_a_single_empty_label_is_still_a_label() -> None:
    """A label without a value is told as such, not as a row without labels."""
    counter = Counter("c", "Words.", "of")
    counter.add(("",))

    assert numbers(counter.picture()) == {("",): [1]}


def test_money_does_not_drift() -> None:
    """A million of the smallest parts is exact."""
    counter = Counter("cost", "Words.", parts=10**9)
    for _ in range(100_000):
        counter.add((), 3)

    assert numbers(counter.picture()) == {(): [300_000]}


@pytest.mark.parametrize(("value", "cell"), [(0, 0), (99, 0), (100, 0), (100.1, 1), (1000, 1), (1001, 2), (1e12, 2)])
def test_a_histogram_counts_up_to_its_bounds(value: float, cell: int) -> None:
    """A value on a bound belongs below it, as Prometheus wants; a last cell takes everything else."""
    histogram = Histogram("h", "Words.", bounds=(0.1, 1), parts=1000)
    histogram.observe(value)

    (row,) = histogram.picture().rows.values()
    assert row == [float(at == cell) for at in range(3)] + [value]


def test_a_gauge_holds_what_was_last_set() -> None:
    """And nothing after it was cleared."""
    gauge = Gauge("g", "Words.", "of")
    gauge.set(1, ("a",))
    gauge.set(7, ("a",))
    assert numbers(gauge.picture()) == {("a",): [7]}
    gauge.clear()
    assert gauge.picture().rows == {}


def test_rows_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond is counted as `other`: memory stays bounded, and no count is lost."""
    monkeypatch.setattr(metrics, "_MOST_ROWS", 3)
    counter, histogram, gauge = (
        Counter("c", "W.", "of"),
        Histogram("h", "W.", "of", bounds=(1,)),
        Gauge("g", "W.", "of"),
    )
    for at in range(10):
        counter.add((f"made-up-{at}",))
        histogram.observe(1, (f"made-up-{at}",))
        gauge.set(1, (f"made-up-{at}",))

    assert numbers(counter.picture())["other",] == [7]
    assert numbers(histogram.picture())["other",] == [7, 0, 7]
    assert len(counter.picture().rows) == len(histogram.picture().rows) == 4
    assert len(gauge.picture().rows) == 3


def test_rows_of_many_processes_have_an_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the dead have left does not grow for ever."""
    monkeypatch.setattr(metrics, "_MOST_ROWS", 2)
    pictures = []
    for at in range(5):
        counter = Counter("c", "Words.", "of")
        counter.add((f"worker-{at}",))
        pictures.append([counter.picture()])

    (family,) = summed(pictures)
    assert numbers(family) == {("worker-0",): [1], ("worker-1",): [1], ("other",): [3]}


def test_a_picture_is_a_copy() -> None:
    """What is counted afterwards does not change it, and adding pictures up changes none of them."""
    counter, histogram = Counter("c", "Words."), Histogram("h", "Words.", bounds=(1,))
    counter.add()
    histogram.observe(1)
    picture = [counter.picture(), histogram.picture()]
    counter.add()
    histogram.observe(1)
    merged([picture, picture])

    assert [list(family.rows.values()) for family in picture] == [[[1]], [[1, 0, 1]]]


def made(kind: Kind, value: float, words: str = "Words.") -> Family:
    return Family(Shape("m", words, kind), {"": [value]})


@pytest.mark.parametrize(("kind", "told"), [(Kind.COUNTER, 9), (Kind.GAUGE, 9), (Kind.MAX, 4)])
def test_processes_add_up(kind: Kind, told: float) -> None:
    """Counts and gauges are summed; of some gauges the highest is told. Other words about the same do not matter."""
    (family,) = merged([[made(kind, 4)], [made(kind, 3, "Other words.")], [made(kind, 2)]])

    assert family.rows == {"": [told]}
    assert family.shape.help == "Words."


def test_another_shape_is_kept_apart() -> None:
    """Other bounds cannot be added up: the first shape is told, and what is kept for later loses nothing."""
    old, new = (Histogram("h", "Words.", bounds=bounds) for bounds in ((1, 2), (1, 2, 3)))
    old.observe(1)
    new.observe(3)
    pictures = [[new.picture()], [old.picture()], [new.picture()]]

    assert [family.rows[""] for family in merged(pictures)] == [[0, 0, 2, 0, 6]]
    assert [family.rows[""] for family in summed(pictures)] == [[0, 0, 2, 0, 6], [1, 0, 0, 1]]


@pytest.mark.parametrize("row", [{"": [1.0, 2.0]}, {"": []}, {"a\x1fb": [1.0]}])
def test_a_row_of_another_form_is_left_out(row: dict[str, list[float]]) -> None:
    """Whoever wrote it: the page is told without it."""
    shape = Shape("c", "Words.", Kind.COUNTER, ("of",))

    (family,) = merged([[Family(shape, {"fine": [2.0]}), Family(shape, row)]])
    assert family.rows == {"fine": [2.0]}


def test_only_counts_outlive_a_process() -> None:
    """What it held at its end is gone with it."""
    families = [made(kind, 1) for kind in Kind]

    assert [family.shape.kind for family in lasting(families)] == [Kind.COUNTER, Kind.HISTOGRAM]


counts = st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.integers(0, 5)), max_size=8)


@given(st.lists(counts, max_size=4))
def test_however_it_is_split_the_sum_is_the_same(workers: list[list[tuple[str, int]]]) -> None:
    """What several workers count comes to what one would have counted, over the wire and back."""
    whole, pictures = Counter("c", "Words.", "of"), []
    for work in workers:
        counter = Counter("c", "Words.", "of")
        for label, amount in work:
            counter.add((label,), amount)
            whole.add((label,), amount)
        raw = msgspec.msgpack.encode([counter.picture()])
        pictures.append(msgspec.msgpack.decode(raw, type=list[Family]))

    assert [family.rows for family in merged(pictures)] in ([whole.picture().rows], [])
