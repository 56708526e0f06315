"""Policies: which line decides, and what a wrong file is told."""

import pytest
from small_tools import add_event, delete_file, mail_tool

from axk1.agents.policy import Condition, Policy, Verdict
from axk1.core.errors import ConfigError


@pytest.fixture
def all_tools(tmp_path):
    return {one.name: one for one in (add_event, delete_file, mail_tool(1, tmp_path))}


YAML = r"""
effects: {write: CONFIRM, delete: BLOCK}
confirmation_minutes: 5
tools:
  send_mail:
    - when: {to: {domains: [example.com, "*.corp.example"]}, subject: {matches: "\\[report\\].*"}}
      then: ALLOW
    - when: {to: {domains: [attacker.com]}}
      then: BLOCK
    - then: CONFIRM
      confirmation_minutes: 10
"""


@pytest.mark.parametrize(
    ("to", "subject", "verdict"),
    [
        (["a@example.com"], "[report] May", "ALLOW"),
        (["a@example.com", "b@seoul.corp.example"], "[report] May", "ALLOW"),
        (["a@example.com", "b@other.com"], "[report] May", "CONFIRM"),
        (["a@EXAMPLE.com"], "hello", "CONFIRM"),
        (["a@attacker.com"], "hello", "BLOCK"),
        (["a@example.com.attacker.com"], "[report] May", "CONFIRM"),
        (["example.com@attacker.com"], "[report] x", "BLOCK"),
        ([], "[report] May", "CONFIRM"),
    ],
)
def test_the_first_rule_that_holds_decides(tmp_path, all_tools, to, subject, verdict):
    path = tmp_path / "policy.yaml"
    path.write_text(YAML)
    policy = Policy.load(path, all_tools)
    decision = policy.decide(all_tools["send_mail"], {"to": to, "subject": subject, "body": ""})
    assert decision.verdict == verdict and decision.reason.startswith("tools.send_mail[")
    assert policy.decide(add_event, {}).verdict is Verdict.CONFIRM
    assert policy.decide(delete_file, {}).verdict is Verdict.BLOCK
    assert policy.decide(add_event, {}).confirmation_minutes == 5


def test_the_default_is_careful(all_tools):
    verdicts = {name: Policy().decide(one, {}).verdict for name, one in all_tools.items()}
    assert verdicts == {"add_event": "ALLOW", "delete_file": "CONFIRM", "send_mail": "CONFIRM"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("effects: {sned: ALLOW}", "effects.sned"),
        ("effects: {send: MAYBE}", "'ALLOW', 'CONFIRM' or 'BLOCK'"),
        ("tools: {send_mial: BLOCK}", "did you mean 'send_mail'"),
        ("tools: {send_mail: [{when: {too: {domains: [a.com]}}, then: ALLOW}]}", "did you mean 'to'"),
        ("tools: {send_mail: [{when: {to: {domain: [a.com]}}, then: ALLOW}]}", "tools.send_mail.0.when.to.domain"),
        ("tools: {send_mail: [{when: {to: {matches: '('}}, then: ALLOW}]}", "no regular expression"),
        ("confirmation_minutes: 0", "confirmation_minutes = 0"),
        ("[1, 2]", "the policy"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_policy_is_refused_with_the_place(tmp_path, all_tools, text, said):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        Policy.load(path, all_tools)
    assert said in error.value.message and str(path) in error.value.message


def test_a_policy_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="agent_policy"):
        Policy.load(tmp_path / "none.yaml")


def test_pages_have_domains_too():
    condition = Policy.model_validate({"tools": {"f": [{"when": {"url": {"domains": ["a.com"]}}, "then": "ALLOW"}]}})
    holds = condition.tools["f"][0].holds
    assert holds({"url": "https://a.com/x"}) and holds({"url": "http://A.com:8080"})
    for url in (
        "https://a.com.evil.com/",
        "https://evil.com/a.com",
        "https://a.com@evil.com/",
        "https://evil.com#a.com",
    ):
        assert not holds({"url": url}), url
    assert not holds({"url": "https://evil.com\\@a.com"})


@pytest.mark.parametrize(
    ("value", "holds"),
    [("boss@example.com", True), ("Boss <boss@example.com>", True), ("https://example.com/a?b=@evil.com", True),
     (["boss@example.com", "evil@evil.com"], False), ("evil@evil.com, boss@example.com", False),
     ("evil.com/steal?x=@example.com", False), ("https://example.com\\@evil.com/x", False),
     ("javascript://example.com", False), ("https://evil@example.com", False), ("example.com", False), ([], False)],
)  # fmt: skip
def test_only_one_whole_address_has_a_domain(value, holds):
    rule = Condition(domains=["example.com"])
    assert rule.holds(value) is holds
    assert Condition(domains=["*"]).holds(value) is (holds or value == ["boss@example.com", "evil@evil.com"])
