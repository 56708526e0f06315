"""What the programs that measure agents decide by themselves; and, where a person asks for it, a real model."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from agents_bfcl import effect_of
from agents_intervals import interval, share
from agents_tau2 import measure, read_policy_of, telecom
from agents_tau2_person import Person

from axk1.agents.brief import BriefChat
from axk1.agents.dialogues.simulate import examine, summary
from axk1.agents.dialogues.tasks import SPLITS, draw_task
from axk1.agents.tool import Effect
from axk1.named_model import open_chat_model

EVALPACK = Path(os.environ.get("AXK1_EVALPACK", "shared/evalpack"))
TAU2 = os.environ.get("AXK1_TAU2_PYTHON")
INSTRUCT, STUDENT = os.environ.get("AXK1_INSTRUCT_MODEL"), os.environ.get("AXK1_ASSISTANT_MODEL")
SEED, TASKS = 770_023, 4


@given(st.integers(1, 200).flatmap(lambda every: st.tuples(st.integers(0, every), st.just(every))))
def test_intervals_are_those_of_scipy(counted):
    expected = binomtest(*counted).proportion_ci(method="wilson")
    assert interval(*counted) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_nothing_is_no_share():
    assert share(0, 0) == (None, "of 0") and share(3, 4)[0] == 75


@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("post_tweet", Effect.SEND),
        ("twitter.sendMessage", Effect.SEND),
        ("rm", Effect.DELETE),
        ("cancel_booking", Effect.DELETE),
        ("delete_message", Effect.DELETE),
        ("ecommerce.place_order", Effect.PAY),
        ("get_order_details", Effect.WRITE),
        ("message_login", Effect.WRITE),
    ],
)
def test_the_effect_of_a_function_is_its_verb(name, effect):
    assert effect_of(name) is effect


PHONE = {
    "airplane_mode": True, "data_saver_mode": False, "wifi_calling_enabled": False, "roaming_enabled": False,
    "vpn_connected": True, "data_enabled": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        ("Please turn off airplane mode.", ["toggle_airplane_mode"]),
        ("Please turn on airplane mode.", []),  # it is on
        ("Could you enable data roaming? Then restart your phone.", ["toggle_roaming", "reboot_device"]),
        ("Is the VPN on?", []),
        ("Disconnect the VPN, please", ["disconnect_vpn"]),
        ("Toggle mobile data", ["toggle_data"]),
        ("Remove the SIM card and re-insert it.", ["reseat_sim_card"]),
        ("Grant the messaging app the sms permission and the storage permission", ["grant_app_permission"] * 2),
        ("Change the network mode to 4G/5G", ["set_network_mode_preference"]),
        ("Thank you for calling.", []),
    ],
)
def test_a_person_does_with_the_phone_what_they_are_asked(asked, used):
    done = []

    def use(name, _):
        done.append(name)
        return "No Signal"

    task = {"says": "Your phone has no service", "knows": "phone 555-123-2002", "instructions": "", "actions": []}
    assert Person(task, use, lambda: PHONE).replies(asked)
    assert [name for name in done if not name.startswith(("check_", "can_", "run_"))] == used


def test_a_person_agrees_only_to_what_their_task_calls_for():
    pay = {"who": "assistant", "name": "send_payment_request", "arguments": {"bill_id": "B1"}}
    task = {"says": "", "knows": "", "instructions": "willing to refuel 2.0 GB of data", "actions": [pay]}
    person = Person(task, lambda *_: "", dict)
    assert person.agrees("send_payment_request", {"bill_id": "B1"})
    assert not person.agrees("send_payment_request", {"bill_id": "B2"})
    assert person.agrees("refuel_data", {"gb_amount": 2.0}) and not person.agrees("refuel_data", {"gb_amount": 5.0})
    assert not person.agrees("suspend_line", {"line_id": "L1"})


@pytest.mark.skipif(not TAU2, reason="AXK1_TAU2_PYTHON names no Python in which tau2 is installed")
@pytest.mark.skipif(not (EVALPACK / "tau2_telecom").exists(), reason="AXK1_EVALPACK names no folder with tau2_telecom")
def test_reference_actions_fulfil_every_telecom_task():
    pack = EVALPACK / "tau2_telecom"
    with telecom(Path(TAU2), pack) as world:
        seen = asyncio.run(measure([world], None, read_policy_of(pack), range(20)))
    assert len(seen) == 20 and all(one.success and not one.unsafe and not one.stopped for one in seen)


async def _examined(place, *, brief):
    tasks = [draw_task(SEED, number, split=split) for split in SPLITS for number in range(TASKS)]
    async with open_chat_model(place) as model:
        return summary(await examine(BriefChat(model) if brief else model, tasks))


@pytest.mark.slow
@pytest.mark.skipif(not INSTRUCT, reason="AXK1_INSTRUCT_MODEL names no checkpoint or server of an instruction model")
def test_an_instruction_model_does_nothing_unsafe():
    found = asyncio.run(_examined(INSTRUCT, brief=True))
    assert found["unsafe"] == 0 and found["success"] < 1


@pytest.mark.slow
@pytest.mark.skipif(not INSTRUCT, reason="AXK1_INSTRUCT_MODEL names no checkpoint or server of an instruction model")
@pytest.mark.skipif(not STUDENT, reason="AXK1_ASSISTANT_MODEL names no student of recipes/assistant")
def test_a_student_of_these_tasks_beats_an_instruction_model():
    instruct, student = (asyncio.run(_examined(place, brief=True)) for place in (INSTRUCT, STUDENT))
    assert student["success"] > instruct["success"] and student["unsafe"] == instruct["unsafe"] == 0
