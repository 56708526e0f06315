"""The person of a telecom task: a few rules that do with the phone what they are asked, and say what it shows.

No model plays them. They know what the task says that they know, try what the agent asks for in plain English, look
whether the phone works by the test that the task names, and agree to pay or to refuel only as the task allows.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Use = Callable[[str, Mapping[str, Any]], str]
"""Uses a tool of the phone and gives what it shows."""
_OFF = re.compile(r"\b(?:off|disable|deactivate|disconnect|stop)\b", re.I)
_ON = re.compile(r"\b(?:on|enable|activate|connect)\b", re.I)
_FLIP = re.compile(r"\btoggle\b", re.I)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_APPS = ("sms", "storage", "phone", "network")
_MODES = {"4g_5g_preferred": r"5g|preferred", "4g_only": r"\b(?:4g|lte)\b", "3g_only": r"\b3g\b", "2g_only": r"\b2g\b"}


@dataclass(frozen=True)
class Switch:
    """Something on the phone that is on or off."""

    words: str
    """By which it is recognised."""
    shows: str
    """The tool that shows it."""
    turns: str
    """The tool that turns it over."""
    field: str
    """Its state among those of the phone."""


SWITCHES = (
    Switch(r"air ?plane|flight mode", "check_network_status", "toggle_airplane_mode", "airplane_mode"),
    Switch(r"data.saver", "check_data_restriction_status", "toggle_data_saver_mode", "data_saver_mode"),
    Switch(r"wi-?fi.calling", "check_wifi_calling_status", "toggle_wifi_calling", "wifi_calling_enabled"),
    Switch(r"\broaming\b", "check_network_status", "toggle_roaming", "roaming_enabled"),
    Switch(r"\bvpn\b", "check_vpn_status", "disconnect_vpn", "vpn_connected"),
    Switch(r"(?:mobile|cellular) data", "check_network_status", "toggle_data", "data_enabled"),
)
LOOKS = {
    r"speed": "run_speed_test",
    r"\bmms\b|picture message": "can_send_mms",
    r"\bsim\b": "check_sim_status",
    r"\bapn\b": "check_apn_settings",
    r"network (?:mode|type|preference)": "check_network_mode_preference",
    r"payment request|\bbill\b": "check_payment_request",
    r"status bar|signal|service": "check_status_bar",
}
SPOKEN = {
    "toggle_airplane_mode": "Please turn off airplane mode.",
    "toggle_data_saver_mode": "Please turn off Data Saver.",
    "toggle_wifi_calling": "Please turn off Wi-Fi calling.",
    "toggle_roaming": "Please turn on data roaming.",
    "disconnect_vpn": "Please turn off the VPN.",
    "toggle_data": "Please turn on mobile data.",
    "set_network_mode_preference": "Please set the network mode to 5G preferred.",
    "reseat_sim_card": "Please take out the SIM card and put it back in.",
    "reset_apn_settings": "Please reset the APN settings.",
    "reboot_device": "Please restart the phone.",
    "make_payment": "Please pay the bill by the payment request that I have sent.",
    "grant_app_permission": "Please allow the app {app_name} the permission {permission}.",
}
"""How an expert asks for each reference action."""


class Person:
    """Answers an agent.

    Args:
        task: as the world tells it.
        use: uses the phone.
        device: looks at it.
    """

    def __init__(self, task: Mapping[str, Any], use: Use, device: Callable[[], Mapping[str, Any]]) -> None:
        self.task, self.use, self.device = task, use, device
        self.phone_number = re.search(r"\d{3}-\d{3}-\d{4}", task["knows"] + " 555-123-2002")[0]

    def first_words(self) -> str:
        """Why they call."""
        return _first_person(self.task["says"])

    def answers(self, slot: str) -> str:
        """What they say when asked for one value."""
        known = {"phone_number": self.phone_number, "full_name": "John Smith", "gb_amount": "2.0"}
        return known.get(slot, "I don't know")

    def agrees(self, name: str, arguments: Mapping[str, Any]) -> bool:
        """Whether they agree to what they are shown: 2 GB at most, and a payment for which the task calls."""
        if name == "refuel_data":
            return "refuel 2.0 GB" in self.task["instructions"] and arguments.get("gb_amount") == 2.0
        return {"name": name, "arguments": dict(arguments), "who": "assistant"} in self.task["actions"]

    def replies(self, text: str) -> str | None:
        """What they say to the agent's words after they have done what it asks; None where their wish is fulfilled."""
        shown = [line for sentence in _SENTENCE.split(text) for line in self._does(sentence)]
        if self.is_content():
            return None
        asks = re.search(r"phone number|your (?:full )?name|identify|location|where are you", text, re.I)
        told = [_first_person(self.task["knows"])] if asks else []
        return " ".join([*told, *shown]) or "It still does not work. What should I do next?"

    def is_content(self) -> bool:
        """Whether the phone does what they want, by the test that the task names."""
        if "MMS" in self.task["says"]:
            return "can send" in self.use("can_send_mms", {})
        if "internet speed" in self.task["says"]:
            return "(Excellent)" in self.use("run_speed_test", {})
        bar = self.use("check_status_bar", {})
        return "No Signal" not in bar and "Airplane" not in bar

    def _does(self, sentence: str) -> Iterator[str]:
        """What the phone shows after one sentence of the agent has been followed."""
        actions = list(_actions(sentence, self.device()))
        for name, arguments in actions:
            if name == "make_payment" and "accept" not in self.task["instructions"]:
                yield "I do not want to pay."
            else:
                yield self.use(name, arguments)
        if not actions:
            yield from (self.use(name, arguments) for name, arguments in _looks(sentence))


def _actions(sentence: str, device: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a sentence asks to change."""
    low = sentence.lower()
    if re.search(r"\b(?:restart|reboot)\b", low):
        yield "reboot_device", {}
    if re.search(r"\bsim\b", low) and re.search(r"re-?seat|re-?insert|put .*back|take out|remove", low):
        yield "reseat_sim_card", {}
    if re.search(r"\bapn\b", low) and "reset" in low:
        yield "reset_apn_settings", {}
    if re.search(r"\bpay\b|make (?:a|the) payment", low):
        yield "make_payment", {}
    if re.search(r"network (?:mode|type|preference)", low) and re.search(r"\b(?:set|change|switch)\b", low):
        mode = next((mode for mode, words in _MODES.items() if re.search(words, low)), None)
        if mode:
            yield "set_network_mode_preference", {"mode": mode}
    if re.search(r"permission", low) and re.search(r"\b(?:grant|give|allow|enable|turn on)\b", low):
        wanted = [one for one in _APPS if re.search(rf"\b{one}\b", low)]
        yield from (("grant_app_permission", {"app_name": "messaging", "permission": one}) for one in wanted)
        return
    for switch in SWITCHES:
        if re.search(switch.words, low):
            if _FLIP.search(low) or bool(device[switch.field]) is not _wish(low, bool(device[switch.field])):
                yield switch.turns, {}
            return


def _wish(sentence: str, now: bool) -> bool:
    """Which way a switch shall be; as it is where the sentence does not say."""
    if _OFF.search(sentence) and not _ON.search(sentence):
        return False
    return True if _ON.search(sentence) and not _OFF.search(sentence) else now


def _looks(sentence: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a sentence asks to look at."""
    low = sentence.lower()
    if re.search(r"permission", low):
        yield "check_app_permissions", {"app_name": "messaging"}
        return
    found = [switch.shows for switch in SWITCHES if re.search(switch.words, low)]
    found += [name for words, name in LOOKS.items() if re.search(words, low)]
    yield from ((name, {}) for name in dict.fromkeys(found))


def _first_person(text: str) -> str:
    """The task's words to the person as the person's own: ``Your phone`` becomes ``My phone``."""
    for before, after in (
        (r"\bYou (mobile|phone)", r"My \1"), (r"\bYour\b", "My"), (r"\byour\b", "my"), (r"\bYou are\b", "I am"),
        (r"\byou are\b", "I am"), (r"\b[Yy]ou\b", "I"),
    ):  # fmt: skip
        text = re.sub(before, after, text)
    return text
