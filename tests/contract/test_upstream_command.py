"""``axk1 serve --upstream``: its plan, and what it refuses before anything starts."""

import pytest
from programs import free_port

from axk1 import cli
from axk1.core.errors import ConfigError

URL = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a checkpoint folder or --upstream URL"),
        (["somewhere", "--upstream", URL], "one of the two"),
        (["--upstream", "http://127.0.0.1:9"], "--upstream http://127.0.0.1:9/v1"),
        (["--upstream", "127.0.0.1:9/v1"], "http://host:port/v1"),
        (["--upstream", "ftp://host/v1"], "http://host:port/v1"),
        (["--upstream", "http://me:secret@host/v1"], "no password"),
        (["--upstream", URL, "--upstream", URL], "each address once"),
        (["--upstream", URL, "--max-num-seqs", "4"], "max_num_seqs = 4 .* the engine is elsewhere"),
        (["--upstream", URL, "--device", "cuda"], "device = 'cuda'"),
        (["--upstream", URL, "--upstream-timeout-seconds", "0"], "upstream_timeout_seconds"),
    ],
)
def test_what_makes_no_sense_is_refused(words, message):
    with pytest.raises(ConfigError, match=message) as refused:
        cli.dispatch(["serve", *words, "--dry-run"])
    assert "secret" not in str(refused.value)


def test_the_plan_says_what_the_upstreams_serve(server, capsys):
    here = server.url + "/v1"
    cli.dispatch(["serve", "--upstream", here, "--served-model-name", "mine", "--dry-run"])
    assert f"{here} serves 'mine'" in capsys.readouterr().err
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(ConfigError, match=f"{nobody} cannot be reached"):
        cli.dispatch(["serve", "--upstream", here, "--upstream", nobody, "--dry-run"])
    assert f"{here} serves 'tiny'" in capsys.readouterr().err


def test_the_help_names_the_variable_of_the_key(capsys):
    with pytest.raises(SystemExit):
        cli.dispatch(["serve", "--help"])
    assert "AXK1_UPSTREAM_API_KEY" in capsys.readouterr().out
