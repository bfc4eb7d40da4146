"""The decision table: every row in every form, every fault of the simulator, and what is never concluded."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.marks import Ban, Blame, Family, MarkKind, Move, Scope, Verdict
from app.services.judge import TABLE, Broken, Policies, StatusVerdict, family_hit, judge, judge_status, next_reset
from app.services.upstream_error import UpstreamError, error_in_event, read_error
from simulator import errors as simulated
from simulator.catalogue import MODELS
from simulator.chat import ChatSkin
from simulator.faults import FAULTS, Fault, Manner, Moment
from simulator.ledger import Generation
from simulator.messages import MessagesSkin
from simulator.reply import Ask, Skin, compose
from simulator.responses import ResponsesSkin
from tests.test_services.upstream_cases import CASES, MIDNIGHT, NOW, Case, Form, Proof, bans_of, forms

NO_POLICIES = Policies()
ALL_POLICIES = Policies(free_limit=True, moderation=True, guardrail=True, region=True)
FORMS = [
    pytest.param(case, form, id=f"{case.row}: {case.name}, {name}") for case in CASES for name, form in forms(case)
]


def near(at_s: float) -> Any:
    """A relative tolerance would span half an hour of these times."""
    return pytest.approx(at_s, rel=0, abs=0.001)


def read(form: Form) -> UpstreamError:
    error = read_error(*form, NOW)
    assert error is not None
    return error


@pytest.mark.parametrize(("case", "form"), FORMS)
def test_every_row_in_every_form(case: Case, form: Form) -> None:
    """Whose fault, which ban until when, where to next, what is proven: in each skin, under its status and a 200."""
    verdict = judge(read(form), NO_POLICIES, NOW)
    proven = case.proof is Proof.ALWAYS or (case.proof is Proof.ANSWER and form[0] >= 400)
    assert (verdict.reason, verdict.blame, verdict.move) == (case.row, case.blame, case.move)
    assert verdict.bans == tuple(replace(ban, until_s=near(ban.until_s)) for ban in bans_of(case))
    assert verdict.retry_after_s == case.retry_after_s
    assert verdict.unbilled is proven


@pytest.mark.parametrize(("case", "form"), FORMS)
def test_policies_only_move_calls(case: Case, form: Form) -> None:
    """A switch lets a call go to another account; blame and bans stay as they are."""
    verdict = judge(read(form), NO_POLICIES, NOW)
    assert judge(read(form), ALL_POLICIES, NOW) == replace(verdict, move=case.allowed or case.move)


@pytest.mark.parametrize(
    ("policy", "rows"),
    [
        ("free_limit", {"free_daily", "free_minute"}),
        ("moderation", {"moderation"}),
        ("guardrail", {"guardrail", "privacy"}),
        ("region", {"region"}),
    ],
)
def test_each_policy_opens_its_own_rows(policy: str, rows: set[str]) -> None:
    """No switch opens more than it says."""
    assert {row.reason for row in TABLE if row.allowed(Policies(**{policy: True}))} - {
        row.reason for row in TABLE if row.allowed(NO_POLICIES)
    } == rows


def test_no_row_without_a_case() -> None:
    """Each row of the table is proven above, and its reason is its name."""
    assert {case.row for case in CASES} == {row.reason for row in TABLE}
    assert len({row.reason for row in TABLE}) == len(TABLE)


def test_served_calls_say_nothing() -> None:
    """No outcome, no blame."""
    assert judge(None, ALL_POLICIES, NOW) == Verdict()


@pytest.mark.parametrize(
    ("broken", "verdict"),
    [
        *(
            (Broken(code, sent=False), Verdict(Move.AGAIN, blame=Blame.NETWORK, reason=code, unbilled=True))
            for code in ("dns", "connect", "tls", "connect_timeout")
        ),
        *(
            (Broken(code, sent=True), Verdict(blame=Blame.NETWORK, reason=code))
            for code in ("closed_early", "first_byte_timeout", "idle_timeout", "protocol")
        ),
        *(
            (Broken(code, sent=False), Verdict(blame=Blame.GATEWAY, reason=code, unbilled=True))
            for code in ("pool_timeout", "protocol")
        ),
    ],
    ids=lambda value: f"{value.code}-{'sent' if value.sent else 'unsent'}" if isinstance(value, Broken) else "",
)
def test_broken_calls(broken: Broken, verdict: Verdict) -> None:
    """Only what was not sent is sent again, and never does the network take a key down."""
    assert judge(broken, ALL_POLICIES, NOW) == verdict


def test_limits_of_other_paths_do_not_rest_the_key() -> None:
    """A data set's own limit (30 a minute per key) is no reason to keep the key from inference."""
    error = UpstreamError(429, 429, message="Rate limit exceeded")
    assert judge(error, NO_POLICIES, NOW).bans
    verdict = judge(error, NO_POLICIES, NOW, inference=False)
    assert (verdict.move, verdict.bans) == (Move.KEY, ())


def test_partial_answers_prove_nothing() -> None:
    """Whatever came along with an error may have been billed."""
    for case in CASES:
        for _, form in forms(case):
            assert not judge(replace(read(form), partial=True), ALL_POLICIES, NOW).unbilled


@pytest.mark.parametrize(
    ("error", "until_s"),
    [
        (UpstreamError(429, 429, retry_after_s=30), 30),
        (UpstreamError(429, 429, retry_after_s=86_000), 60),
        (UpstreamError(429, 429, retry_after_s=0), 1),
        (UpstreamError(429, 429, reset_at_s=NOW + 12), 12),
        (UpstreamError(429, 429, limit_source="new", retry_after_s=86_000), 60),
        (UpstreamError(402, 402, limit_source="openrouter_in_flight_budget", retry_after_s=86_000), 300),
        (UpstreamError(429, 429, limit_source="upstream_provider_shared_pool", retry_after_s=900), 60),
        (UpstreamError(429, 429, limit_source="openrouter_free_tier_minute", reset_at_s=NOW + 86_000), 60),
        (UpstreamError(429, 429, limit_source="openrouter_free_tier_daily", reset_at_s=NOW + 9e5), MIDNIGHT),
        (UpstreamError(403, 403, limit_source="openrouter_key_limit", reset_interval="hourly"), 86_400),
    ],
)
def test_bans_have_bounds(error: UpstreamError, until_s: float) -> None:
    """A key does not rest longer than its kind of limit can last, whatever upstream writes."""
    (ban,) = judge(error, NO_POLICIES, NOW).bans
    assert ban.until_s == near(NOW + until_s)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}: {case.name}")
def test_nothing_is_disabled_and_no_provider_costs_a_key(case: Case) -> None:
    """Only hands and probes disable; faults of providers, clients and the network never touch key or account."""
    for _, form in forms(case):
        verdict = judge(read(form), ALL_POLICIES, NOW)
        assert all(ban.kind is not MarkKind.DISABLED and ban.until_s > NOW for ban in verdict.bans)
        if verdict.blame in {Blame.PROVIDER, Blame.CLIENT, Blame.NETWORK}:
            assert all(ban.scope is Scope.MODEL for ban in verdict.bans)


@pytest.mark.parametrize(
    ("reason", "called", "closed"),
    [
        ("free_daily", Family.PAID, Family.FREE),
        ("free_minute", Family.FREE, Family.FREE),
        ("credits", Family.PAID, Family.PAID),
        ("credits", Family.FREE, Family.FREE),
        ("in_flight", Family.PAID, Family.PAID),
    ],
)
def test_the_family_that_a_ban_closes(reason: str, called: Family, closed: Family) -> None:
    """A spent free quota leaves paid models open; a negative balance closes what it was met on."""
    assert family_hit(Ban(Scope.FAMILY, MarkKind.SPENT, NOW + 1, reason), called) is closed


@pytest.mark.parametrize(
    ("interval", "now", "then"),
    [
        ("daily", "2026-11-18T10:00", "2026-11-19"),
        ("daily", "2026-11-18T00:00", "2026-11-19"),
        ("daily", "2026-12-31T23:59", "2027-01-01"),
        ("weekly", "2026-11-18T10:00", "2026-11-23"),
        ("weekly", "2026-11-23T00:00", "2026-11-30"),
        ("weekly", "2026-11-22T23:59", "2026-11-23"),
        ("monthly", "2026-11-18T10:00", "2026-12-01"),
        ("monthly", "2026-12-01T00:00", "2027-01-01"),
        ("monthly", "2028-01-31T23:59", "2028-02-01"),
        ("total", "2026-11-18T10:00", None),
        ("", "2026-11-18T10:00", None),
    ],
)
def test_resets(interval: str, now: str, then: str | None) -> None:
    """Budgets start anew at 00:00 UTC of a day, a Monday or a month's first."""
    at = next_reset(interval, datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp())
    assert at == (datetime.fromisoformat(then).replace(tzinfo=UTC).timestamp() if then else None)


# Every fault that the simulator can play.

ECHO = next(model for model in MODELS if model.id == "sim/echo")
SKINS: dict[simulated.SkinName, Skin] = {skin.name: skin for skin in (ChatSkin(), MessagesSkin(), ResponsesSkin())}
EXPECTED: dict[str, tuple[str, Move]] = {
    "401": ("key_refused", Move.KEY),
    "401-missing": ("no_credential", Move.KEY),
    "401-disabled": ("key_refused", Move.KEY),
    "401-expired": ("key_refused", Move.KEY),
    "401-provider": ("provider_refusal", Move.NONE),
    "402-credits": ("credits", Move.ACCOUNT),
    "402-in-flight": ("in_flight", Move.ACCOUNT),
    "402-too-big": ("too_big_for_account", Move.ACCOUNT),
    "402-key-limit": ("too_big_for_key", Move.KEY),
    "403-key-limit": ("key_limit", Move.KEY),
    "403-guardrail-budget": ("guardrail_budget", Move.KEY),
    "403-workspace-budget": ("workspace_budget", Move.WORKSPACE),
    "403-management": ("wrong_key_kind", Move.NONE),
    "403-inference": ("management_key", Move.KEY),
    "403-suspended": ("account_refused", Move.ACCOUNT),
    "429-free-daily": ("free_daily", Move.NONE),
    "429-free-minute": ("free_minute", Move.NONE),
    "429-plain": ("rate_limited", Move.KEY),
    "400-context": ("request", Move.NONE),
    "400-model": ("request", Move.NONE),
    "400-invalid": ("request", Move.NONE),
    "403-moderation": ("moderation", Move.NONE),
    "403-guardrail": ("guardrail", Move.NONE),
    "403-region": ("region", Move.NONE),
    "404-model": ("not_found", Move.NONE),
    "404-privacy": ("privacy", Move.NONE),
    "408": ("request", Move.NONE),
    "409": ("request", Move.NONE),
    "413": ("request", Move.NONE),
    "422": ("request", Move.NONE),
    "429-provider": ("provider_limit", Move.NONE),
    "429-byok": ("byok_limit", Move.WORKSPACE),
    "500": ("upstream_fault", Move.NONE),
    "502": ("upstream_fault", Move.NONE),
    "503": ("upstream_fault", Move.AGAIN),
    "504": ("upstream_fault", Move.NONE),
    "524": ("upstream_fault", Move.NONE),
    "529": ("upstream_fault", Move.NONE),
    "403-html": ("edge", Move.NONE),
    "404-html": ("not_found", Move.NONE),
    "429-html": ("edge", Move.NONE),
    "503-html": ("edge", Move.NONE),
    "200-error": ("upstream_fault", Move.NONE),
    "200-429-free-daily": ("free_daily", Move.NONE),
    "200-402-credits": ("credits", Move.ACCOUNT),
    "200-error-finish": ("upstream_fault", Move.NONE),
    "stream-first-error": ("free_daily", Move.NONE),
    "stream-mid-error": ("upstream_fault", Move.NONE),
}
_TRANSPORT = {fault.name for fault in FAULTS.values() if fault.status == 200}
_ANSWERS = {Manner.ANSWER, Manner.HTML}
# The Responses skin's documented error leaves `availability` out, so that nothing says that a retry helps.
_NO_RETRY_TOLD = {("429-provider", simulated.SkinName.RESPONSES), ("503", simulated.SkinName.RESPONSES)}


def answered(fault: Fault, skin: simulated.SkinName, moment: Moment) -> bytes:
    """The body of a fault's answer in a skin."""
    if fault.manner is Manner.HTML:
        return simulated.page(fault.status, fault.message)
    if skin is simulated.SkinName.MESSAGES:
        return msgspec.json.encode(simulated.anthropic(fault, moment, None))
    if skin is simulated.SkinName.RESPONSES:
        return msgspec.json.encode(simulated.responses_docs(fault, moment))
    return msgspec.json.encode(simulated.plain(fault, moment, None))


def reply_of(skin: simulated.SkinName, *, partial: bool) -> Any:
    generation = Generation("gen-1", cast("Any", None), ECHO, "completions", True, NOW, 0, 10)
    generation.completion_tokens = 5 if partial else 0
    return compose(Ask("sim/echo", question="hello"), ECHO, generation, 5)


def headers_of(fault: Fault, moment: Moment) -> tuple[tuple[bytes, bytes], ...]:
    kind = b"text/html" if fault.manner is Manner.HTML else b"application/json"
    told = ((name.lower().encode(), value.encode()) for name, value in fault.headers(moment).items())
    return ((b"content-type", kind), *told)


def test_every_fault_of_the_simulator_has_its_verdict() -> None:
    """A new fault must be thought about here."""
    assert set(EXPECTED) | _TRANSPORT == set(FAULTS)


@pytest.mark.parametrize("skin", SKINS)
@pytest.mark.parametrize("name", EXPECTED)
def test_faults_as_answers(name: str, skin: simulated.SkinName) -> None:
    """The same verdict in all skins, as an answer with its own status; under a 200 for what comes in a body."""
    fault, moment = FAULTS[name], Moment(NOW, "openai/gpt-4o-mini")
    under_200 = fault.manner not in _ANSWERS
    body, headers = answered(fault, skin, moment), headers_of(fault, moment)
    verdict = judge(read((200 if under_200 else fault.status, () if under_200 else headers, body)), NO_POLICIES, NOW)
    reason, move = EXPECTED[name]
    assert (verdict.reason, verdict.move) == (reason, Move.NONE if (name, skin) in _NO_RETRY_TOLD else move)


@pytest.mark.parametrize("skin", SKINS)
@pytest.mark.parametrize("name", [name for name in EXPECTED if FAULTS[name].manner not in _ANSWERS])
def test_faults_as_events(name: str, skin: simulated.SkinName) -> None:
    """What a stream says in its own form means the same, also where the form leaves the metadata out."""
    fault, moment = FAULTS[name], Moment(NOW, "openai/gpt-4o-mini")
    events = SKINS[skin].stream(reply_of(skin, partial=False)).failure(fault, moment)
    (data,) = [line[6:] for line in events[0].split(b"\n") if line.startswith(b"data: ")]
    error = error_in_event(data, NOW)
    assert error is not None
    verdict = judge(error, NO_POLICIES, NOW)
    assert (verdict.reason, verdict.move) == EXPECTED[name]


@pytest.mark.parametrize("skin", [simulated.SkinName.CHAT, simulated.SkinName.RESPONSES])
def test_a_failed_finish_with_content_proves_nothing(skin: simulated.SkinName) -> None:
    """Partial content and an error under a 200: searches made for it are billed."""
    body = SKINS[skin].failed(reply_of(skin, partial=True), FAULTS["200-error-finish"], Moment(NOW, "m"))
    error = read((200, (), msgspec.json.encode(body)))
    assert error.partial
    assert judge(error, NO_POLICIES, NOW) == Verdict(blame=Blame.PROVIDER, reason="upstream_fault")


@pytest.mark.parametrize("skin", SKINS)
@pytest.mark.parametrize("streamed", [True, False])
def test_good_answers_are_no_errors(skin: simulated.SkinName, streamed: bool) -> None:
    """Neither a whole answer nor any event of one is taken for an error."""
    reply = reply_of(skin, partial=False)
    if not streamed:
        assert read_error(200, (), msgspec.json.encode(SKINS[skin].whole(reply)), NOW) is None
        return
    stream = SKINS[skin].stream(reply)
    events = [*stream.opening(), *(event for piece in reply.pieces for event in stream.piece(piece)), *stream.closing()]
    for event in events:
        for line in event.split(b"\n"):
            if line.startswith(b"data: "):
                assert error_in_event(line[6:], NOW) is None


words = st.sampled_from(["", "openrouter_credits", "openrouter_key_limit", "upstream_x", "new", "member", "daily"])
any_error = st.builds(
    UpstreamError,
    status=st.integers(400, 599),
    http_status=st.integers(200, 599),
    message=st.text(max_size=20),
    limit_source=words,
    reason=words,
    scope=words,
    reset_interval=words,
    availability=words,
    refusal=words,
    routed=st.booleans(),
    is_byok=st.booleans(),
    retryable=st.booleans(),
    html=st.booleans(),
    moderated=st.booleans(),
    retry_after_s=st.none() | st.floats(0, 86_400),
    reset_at_s=st.none() | st.floats(NOW + 0.001, NOW + 32 * 86_400),
)


@given(any_error)
def test_every_error_has_one_bounded_verdict(error: UpstreamError) -> None:
    """Whatever upstream invents: a verdict, bans that end within a month, no ban for nobody's fault."""
    verdict = judge(error, NO_POLICIES, NOW)
    assert verdict.blame is not Blame.NOBODY
    assert all(NOW < ban.until_s <= NOW + 32 * 86_400 for ban in verdict.bans)
    assert not verdict.bans or verdict.blame in {Blame.KEY, Blame.ACCOUNT, Blame.GATEWAY, Blame.PROVIDER}


@pytest.mark.parametrize(
    ("status", "retry_after", "verdict"),
    [
        (200, b"", StatusVerdict(False)),
        (400, b"", StatusVerdict(False)),
        (403, b"", StatusVerdict(False)),
        (404, b"9", StatusVerdict(False)),
        (500, b"", StatusVerdict(False)),
        (503, b"9", StatusVerdict(False)),
        (401, b"", StatusVerdict(True, 60.0)),
        (402, b"", StatusVerdict(True, 60.0)),
        (402, b"3", StatusVerdict(True, 3.0)),
        (429, b"", StatusVerdict(True, 5.0)),
        (429, b" 30 ", StatusVerdict(True, 30.0)),
        (429, b"999999999", StatusVerdict(True, 300.0)),
        (429, b"-5", StatusVerdict(True, 5.0)),
        (429, b"abc", StatusVerdict(True, 5.0)),
        (429, b"30, 60", StatusVerdict(True, 5.0)),
        (429, b"9" * 50, StatusVerdict(True, 5.0)),
    ],
)
def test_verdicts_by_status(status: int, retry_after: bytes, verdict: StatusVerdict) -> None:
    """Only what speaks of the key rests it, for as long as upstream says within bounds."""
    assert verdict == judge_status(status, retry_after)
