"""Every ``axk1 serve`` of docs/scale.md is a plan that the command takes."""

import shlex

import pytest
from test_readme import commands

from axk1 import cli

SERVES = [line for line in commands("docs/scale.md") if line.startswith("axk1 serve --upstream")]


@pytest.mark.parametrize("line", SERVES)
def test_the_options_are_understood(line):
    config, _ = cli._parse("serve", cli.COMMANDS["serve"], shlex.split(line)[2:])
    assert config.upstream == tuple(word for word in shlex.split(line) if word.endswith("/v1"))


def test_there_are_some():
    assert len(SERVES) >= 3
