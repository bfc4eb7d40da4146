"""The bench's pure parts: what it reads from wrk and /proc, and how it turns figures into verdicts."""

from __future__ import annotations

import pytest

from app.models.limits import Span, Unit
from app.services.limit_words import all_fitting, limit_of
from bench import limited
from bench.__main__ import pool_rows
from bench.load import body, complete, wrk_script
from bench.machine import parse_cpu_model, parse_version
from bench.measure import Figures
from bench.proc import Stat, parse_kb, parse_stat, tree
from bench.report import Aim, absolute, added, changed, compared, document, missing, parse_wrk, ratio, spread, table
from bench.rig import Contestant, openrouter_keys

WRK = """Running 4s test @ http://127.0.0.1:40001/v1/chat/completions
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.78ms  312.11us  12.10ms   89.01%
    Req/Sec    36.11k     2.32k   40.01k    75.00%
  143990 requests in 4.01s, 187.11MB read
{more}Requests/sec:  35907.73
Transfer/sec:     46.66MB
"""
AT_MOST_4 = Aim(4.0, at_most=True, text="<= 4 x nginx")
AT_LEAST_QUARTER = Aim(0.25, at_most=False, text=">= 0.25 x nginx")


@pytest.mark.parametrize(
    ("more", "failed"),
    [
        ("", 0),
        ("  Non-2xx or 3xx responses: 17\n", 17),
        ("  Socket errors: connect 1, read 2, write 3, timeout 4\n", 10),
        ("  Socket errors: connect 0, read 5, write 0, timeout 0\n  Non-2xx or 3xx responses: 2\n", 7),
    ],
)
def test_wrk_report_is_read(more: str, failed: int) -> None:
    """Requests, rate and everything that failed are taken from wrk's report."""
    run = parse_wrk(WRK.format(more=more))
    assert (run.requests, run.per_s, run.failed) == (143990, 35907.73, failed)


def test_other_text_is_not_wrk_report() -> None:
    """A text without totals is refused instead of read as zero."""
    with pytest.raises(ValueError, match="not wrk"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused")


@pytest.mark.parametrize("name", ["nginx", "redis-server *:0", "a) b (c) S 9 9", ""])
def test_stat_survives_any_program_name(name: str) -> None:
    """The fields of /proc/PID/stat are found whatever the program calls itself."""
    line = f"4242 ({name}) S 17 4242 4242 0 -1 4194560 1200 0 3 0 150 25 7 8 20 0 3 0 99 1000 200\n"
    assert parse_stat(line) == Stat(pid=4242, parent=17, ticks=175)


def test_tree_is_the_process_and_all_below_it() -> None:
    """Grandchildren belong to the tree in whatever order they are listed, neighbours do not."""
    stats = [Stat(30, 20, 1), Stat(20, 10, 2), Stat(10, 1, 4), Stat(11, 1, 8), Stat(31, 11, 16)]
    assert {stat.pid for stat in tree(10, stats)} == {10, 20, 30}


def test_memory_line_is_found_by_its_whole_name() -> None:
    """`Pss` is not taken from `Pss_Dirty`, and a missing line is an error."""
    text = "Rss:  900 kB\nPss_Dirty:  7 kB\nPss:    123 kB\n"
    assert parse_kb(text, "Pss") == 123
    with pytest.raises(ValueError, match="Swap"):
        parse_kb(text, "Swap")


def test_machine_words() -> None:
    """The processor's name and a program's version are picked out of what they say of themselves."""
    assert parse_cpu_model("processor\t: 0\nmodel name\t: Example CPU 9000\n") == "Example CPU 9000"
    assert parse_version("nginx version: nginx/1.22.1") == "1.22.1"
    assert parse_version("") == "unknown"


def test_ratio_is_taken_round_by_round() -> None:
    """A round in which the whole machine was slow does not move the ratio."""
    assert ratio([80.0, 800.0, 90.0], [20.0, 200.0, 20.0]) == 4.0
    assert added([0.5, 0.75], [0.25, 0.25]) == [0.25, 0.5]


def test_spread_shows_the_range_only_where_there_is_one() -> None:
    """One round is one number, several are the median and the ends."""
    assert spread([1234.4]) == "1,234"
    assert spread([3.0, 1.0, 2.0], 1) == "2.0 (1.0 - 3.0)"


@pytest.mark.parametrize(
    ("row", "verdict", "judged"),
    [
        (compared("cpu", [20.0], [80.0], AT_MOST_4), "met", "4.00 x"),
        (compared("cpu", [20.0], [81.0], AT_MOST_4), "**not met**", "4.05 x"),
        (compared("rate", [100.0], [25.0], AT_LEAST_QUARTER), "met", "0.25 x"),
        (compared("rate", [100.0], [24.0], AT_LEAST_QUARTER), "**not met**", "0.24 x"),
        (absolute("ms", [0.0], [0.36], Aim(0.35, at_most=True, text=""), "ms", 2), "**not met**", "0.36 ms"),
        (changed("crowd", [100.0], [104.0], [25.0], Aim(5.0, at_most=True, text="")), "met", "+4.0 %"),
        (changed("crowd", [100.0], [90.0], [25.0], Aim(5.0, at_most=True, text="")), "met", "-10.0 %"),
        (changed("keys", [200.0], [191.0], [], Aim(-5.0, at_most=False, text="")), "met", "-4.5 %"),
        (changed("keys", [200.0], [189.0], [], Aim(-5.0, at_most=False, text="")), "**not met**", "-5.5 %"),
        (missing("crowd", AT_MOST_4), "not measured", "-"),
    ],
)
def test_rows_are_judged_by_their_aim(row: object, verdict: str, judged: str) -> None:
    """Each kind of row compares the figure that its aim speaks of, the limit itself included."""
    assert (row.verdict, row.judged_text) == (verdict, judged)  # type: ignore[attr-defined]


def test_report_is_a_markdown_table_with_the_machine() -> None:
    """The columns line up, and the machine and the way of measuring stand below."""
    rows = [compared("cpu", [20.0, 22.0], [80.0, 81.0], AT_MOST_4), missing("crowd", AT_MOST_4)]
    lines = table(rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.count("|") for line in lines] == [8] * 4
    text = document(rows, {"CPU": "Example, 2 cores"}, ["7 rounds"])
    assert table(rows) in text
    assert "- CPU: Example, 2 cores\n" in text
    assert "- 7 rounds\n" in text


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
    ],
)
def test_end_of_an_answer_is_seen(data: bytes, whole: bool) -> None:
    """Both framings of an answer are followed to their end."""
    assert complete(data) is whole


def test_call_has_a_usual_size() -> None:
    """The measured call is as large as a short real one."""
    assert 550 <= len(body("bench/json")) <= 750
    assert 550 <= len(body("bench/json", "1000")) <= 750


def test_wrk_sends_one_call_or_many_conversations() -> None:
    """Each conversation has a call of its own, with the client's key; a single one needs no function."""
    to = Contestant("gateway", 1, 2, key="gw_live_x")
    single, many = wrk_script(to, 1), wrk_script(to, 3)
    assert "function" not in single
    assert single in many
    assert many.count("Order 100") == 3
    assert 'wrk.headers["Authorization"] = "Bearer gw_live_x"' in many


@pytest.mark.parametrize("accounts", [1, 3, 6])
def test_made_up_keys_belong_to_as_many_accounts(accounts: int) -> None:
    """All differ, look like OpenRouter's, and begin alike where they belong together."""
    keys = openrouter_keys(6, accounts=accounts)
    assert len(set(keys)) == 6
    assert {len(key) for key in keys} == {73}
    assert len({key[9:17] for key in keys}) == accounts


def test_pools_are_compared_with_each_other() -> None:
    """Many keys against few, round by round; what was not measured is said."""
    figures = Figures()
    assert [row.verdict for row in pool_rows(figures)] == ["not measured"] * 3
    for name, per_s, cpu_us in (("gateway-3-keys", 4000.0, 200.0), ("gateway-1000-keys", 3900.0, 206.0)):
        for conversations in (8, 256):
            contestant = Contestant(f"{name}-{conversations}", 1, 2)
            figures.add("requests", contestant, per_s)
            figures.add("cpu", contestant, cpu_us)
    assert [row.judged_text for row in pool_rows(figures)] == ["-2.5 %", "+3.0 %", "+3.0 %"]
    assert {row.verdict for row in pool_rows(figures)} == {"met"}


@pytest.mark.parametrize(
    ("per_s", "judged", "verdict"), [(3401.0, "-15.0 %", "met"), (3390.0, "-15.2 %", "**not met**")]
)
def test_limits_are_compared_with_none(per_s: float, judged: str, verdict: str) -> None:
    """At least 0.85 of the requests/s; what was not measured is said."""
    figures = Figures()
    assert limited.row(figures).verdict == "not measured"
    for name, value in ((limited.FREE, 4000.0), (limited.LIMITED, per_s)):
        figures.add("requests", Contestant(name, 1, 2), value)
    row = limited.row(figures)
    assert (row.judged_text, row.verdict) == (judged, verdict)


def test_all_limits_stand_on_key_group_and_gateway() -> None:
    """Each command carries all of them, and each limit is one that the gateway knows and takes."""
    commands = limited.terms("bench")
    assert [command[:3] for command in commands] == [
        ["groups", "create", "team"], ["groups", "set", "gateway"], ["clients", "create", "bench"],
    ]  # fmt: skip
    told = all_fitting(limit_of(words, 0.0) for words in limited.LIMITS)
    assert {(one.unit, one.span) for one in told} >= {
        (Unit.REQUESTS, Span.MINUTE), (Unit.REQUESTS, Span.HOUR), (Unit.REQUESTS, Span.DAY),
        (Unit.TOKENS, Span.MINUTE), (Unit.TOKENS, Span.DAY), (Unit.CONCURRENT, Span.NOW),
        (Unit.USD, Span.DAY), (Unit.USD, Span.MONTH), (Unit.USD, Span.TOTAL),
    }  # fmt: skip
    assert sum(bool(one.models) for one in told) == sum(one.each_user for one in told) == 1
    assert not any(one.shadow for one in told)
    assert all(command.count("--limit") == len(limited.LIMITS) for command in commands)
