"""Scripts: what happens to which key, how often and for how long."""

from __future__ import annotations

import pytest

from simulator.script import Script, Step
from tests.test_simulator.conftest import Rig


async def test_a_script_plays_its_steps_in_order(rig: Rig) -> None:
    """Three failures, one good answer, another failure, then all is well."""
    steps = [{"status": 429, "times": 3}, {"ok": True}, {"fault": "sim/402-credits"}]
    await rig.control("script", {"key": rig.key, "then": steps})
    assert [(await rig.chat()).status_code for _ in range(6)] == [429, 429, 429, 200, 402, 200]


@pytest.mark.parametrize("selector", ["hash", "ending", "name", "star"])
async def test_keys_are_selected_in_several_ways(rig: Rig, selector: str) -> None:
    """By digest, by how the key ends, by name, or all of them."""
    key = rig.simulator.world.find_key(rig.key)
    assert key is not None
    chosen = {"hash": key.hash, "ending": rig.key[-4:], "name": key.name, "star": "*"}[selector]
    await rig.control("script", {"key": chosen, "then": [{"status": 503}]})
    assert (await rig.chat()).status_code == 503


async def test_a_script_concerns_its_key_alone(rig: Rig) -> None:
    """Another key of the same account works on."""
    other = rig.simulator.add_key(account="user_one")
    await rig.control("script", {"key": rig.key, "then": [{"status": 401, "times": 0}]})
    assert (await rig.chat()).status_code == 401
    answer = await rig.post(
        "/chat/completions",
        {"model": "sim/echo", "messages": [{"role": "user", "content": "x"}]},
        headers={"Authorization": f"Bearer {other}"},
    )
    assert answer.status_code == 200


async def test_a_script_may_aim_at_other_paths(rig: Rig) -> None:
    """Inference by default; /key only when it is named."""
    await rig.control("script", {"key": rig.key, "then": [{"status": 401, "times": 0}]})
    assert (await rig.get("/key")).status_code == 200
    await rig.control("script", {"key": rig.key, "then": [{"status": 500, "times": 0, "path": "/key"}]})
    assert (await rig.get("/key")).status_code == 500
    assert (await rig.chat()).status_code == 200


async def test_answers_of_ones_own(rig: Rig) -> None:
    """Status, headers, and a body that is sent as it is."""
    step = {"status": 418, "headers": {"Retry-After": "9"}, "body": "short and stout"}
    await rig.control("script", {"key": rig.key, "then": [step, {"status": 429, "message": "m", "metadata": {"a": 1}}]})
    first, second = await rig.chat(), await rig.chat()
    assert (first.status_code, first.text, first.headers["retry-after"]) == (418, "short and stout", "9")
    assert second.json()["error"] == {"code": 429, "message": "m", "metadata": {"a": 1}}


async def test_mistakes_in_scripts_are_told(rig: Rig) -> None:
    """Unknown keys, faults and fields are refused."""
    for body in (
        {"key": "nobody", "then": []},
        {"key": "*", "then": [{"fault": "nonsense"}]},
        {"key": "*", "then": [{}]},
        {"key": "*", "then": [{"stauts": 429}]},
    ):
        answer = await rig.client.post(f"{rig.origin}/_sim/script", json=body)
        assert answer.status_code == 400


def test_time_limits_of_a_step() -> None:
    """A step sleeps, then lasts; the next one begins when it is over."""
    script = Script()
    script.write("k", [Step(status=429, times=0, after_s=10, for_s=5), Step(status=402)])

    def status(now: float) -> int | None:
        step = script.take("k", "/chat/completions", now, inference=True)
        return None if step is None else step.status

    assert [status(now) for now in (0, 9, 10, 14, 15, 16)] == [None, None, 429, 429, 402, None]
