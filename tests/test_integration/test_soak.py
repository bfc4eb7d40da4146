"""The short form of `make soak`: the same crowd, the same faults, the same reckoning, for a few seconds."""

from __future__ import annotations

import pytest

from simulator.faults import FAULTS
from tests.soak.__main__ import TIRED, main
from tests.soak.crowd import FAULTS as MET
from tests.soak.verdict import Sample, compare_books, judge_descriptors, judge_memory, leaks


@pytest.mark.timeout(120)
def test_a_short_soak_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is settled once, nothing is left open, and no secret is found."""
    code = main(["--minutes", "0.15", "--streams", "40", "--answer-s", "2"])
    told = capsys.readouterr().out
    assert code == 0, told
    assert "All as it must be." in told


def test_every_fault_of_a_soak_is_known() -> None:
    """A name that the simulator does not know would end a long soak in its middle."""
    assert {*TIRED, *(name.removeprefix("sim/") for name in MET)} <= FAULTS.keys()


def entry(number: int, cost: str = "0.5", kind: str = "reported") -> dict[str, str]:
    return {"request_id": f"r{number}", "generation_id": f"g{number}", "cost_usd": cost, "cost_kind": kind}


BILL = [{"id": "g1", "cost_nano": 500_000_000}, {"id": "g2", "cost_nano": 500_000_000}]


def test_books_that_agree() -> None:
    """A call without proof stands for a generation that nobody could name."""
    sent = {"r1", "r2", "r3"}
    assert compare_books([entry(1), entry(2)], BILL, sent, {"r1"}).wrong == []
    assert compare_books([entry(1), {**entry(2, kind="unknown"), "generation_id": ""}], BILL, sent, {"r2"}).wrong == []


@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        ([entry(1), entry(2), entry(2)], "twice"),
        ([entry(1), entry(2), entry(9)], "nobody made"),
        ([entry(1)], "no entry"),
        ([entry(1), entry(2, cost="0.4")], "another price"),
        ([entry(1), {**entry(2), "generation_id": ""}], "not booked"),
    ],
)
def test_books_that_do_not(ledger: list[dict[str, str]], said: str) -> None:
    """Each way of being wrong is told."""
    found = compare_books(ledger, BILL, {"r1", "r2"}, {"r1", "r2"})
    assert any(said in sentence for sentence in found.wrong)


def test_memory_that_grows_is_told() -> None:
    """From the second quarter to the last."""

    def grown(most: int) -> list[Sample]:
        return [Sample(n, 100_000_000 + n * most, 50, 10) for n in range(40)]

    assert judge_memory(grown(1000)).wrong == []
    assert "memory grew" in judge_memory(grown(1_000_000)).wrong[0]
    assert judge_memory([]).wrong == ["too short to judge memory"]


def test_descriptors_and_secrets_are_told() -> None:
    """By number and place, and a secret is never quoted."""
    assert judge_descriptors(40, 45).wrong == []
    assert judge_descriptors(40, 90).wrong == ["50 descriptors were not given back"]
    places = {"log": b"xx s3cret-word yy", "dump": b"733363726574 " + b"s3cret-word".hex().encode(), "clean": b"s3cret"}
    assert leaks(["s3cret-word"], places) == ["secret 0 (plain) stands in log", "secret 0 (hex) stands in dump"]
