"""``axk1 tenants``, and ``axk1 serve`` with tenants: keys, refusals, reports, and a server that is killed."""

import asyncio
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest
from programs import free_port
from sqlalchemy import select

from axk1 import cli
from axk1.app import ServeConfig, _ask_for_keys
from axk1.core.errors import ConfigError
from axk1.serve.database import open_database
from axk1.serve.tenants.tables import Balance, Hold, LedgerEntry


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/axk1.db"


@pytest.fixture
def run(url, capsys):
    def run(*words: str) -> str:
        """Standard output of ``axk1 tenants ...``."""
        capsys.readouterr()
        cli.dispatch(["tenants", *words, "--database", url])
        return capsys.readouterr().out

    return run


def served(checkpoint, url: str, *words: str) -> tuple[subprocess.Popen, str]:
    port = free_port()
    words = ("serve", str(checkpoint), "--port", str(port), "--database", url, *words)
    process = subprocess.Popen([sys.executable, "-m", "axk1", *words], stderr=subprocess.PIPE, text=True)
    return process, f"http://127.0.0.1:{port}"


def wait_for(process: subprocess.Popen, address: str) -> None:
    while process.poll() is None:
        try:
            httpx.get(f"{address}/health")
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(process.stderr.read())


def test_a_killed_server_loses_no_answer_and_two_do_not_overspend(checkpoint, url, run):
    run("add", "acme", "--tokens-per-day", "3000", "--time-zone", "Asia/Seoul")
    key = run("key", "acme", "--name", "laptop").strip()
    headers = {"Authorization": f"Bearer {key}"}
    one, two = (served(checkpoint, url) for _ in range(2))
    try:
        for each in (one, two):
            wait_for(*each)
        ask = {"prompt": [[5] * 10], "max_tokens": 10, "ignore_eos": True}

        async def many() -> list[httpx.Response]:
            async with httpx.AsyncClient(headers=headers, timeout=100) as client:
                return await asyncio.gather(*(
                    client.post(f"{(one, two)[n % 2][1]}/v1/completions", json=ask) for n in range(40)
                ))  # fmt: skip

        run("limit", "acme", "--tokens-per-day", "200")
        answers = asyncio.run(many())
        assert sorted({answer.status_code for answer in answers}) == [200, 429]
        assert sum(answer.status_code == 200 for answer in answers) == 10
        run("limit", "acme", "--tokens-per-day", "3000")

        body = {"prompt": [[5] * 10], "max_tokens": 490, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", f"{one[1]}/v1/completions", json=body, headers=headers, timeout=100) as answer:
            lines = answer.iter_lines()
            for _ in range(5):
                next(lines)
            os.kill(one[0].pid, signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                list(lines)
        one[0].wait()
        database = open_database(url)
        with database.connect() as connection:
            held = connection.execute(select(Hold.tokens)).scalars().all()
        assert held == [500]
        again = served(checkpoint, url)
        try:
            wait_for(*again)
            with database.connect() as connection:
                assert connection.execute(select(Hold.request)).all() == []
                steps = select(LedgerEntry.outcome).where(LedgerEntry.step == "released")
                assert connection.execute(steps).scalars().all() == ["lost"]
                assert connection.execute(select(Balance.tokens)).scalars().all() == [200]
            assert httpx.post(f"{again[1]}/v1/completions", json=ask, headers=headers, timeout=60).status_code == 200
        finally:
            again[0].kill()
            again[0].wait()
    finally:
        for process, _ in (one, two):
            process.kill()
            process.wait()
    (row,) = json.loads(run("usage", "acme", "--json"))
    assert (row["requests"], row["prompt_tokens"], row["completion_tokens"]) == (11, 110, 110)
    assert (row["organisation"], row["key"], row["key_name"], row["model"]) == (
        "acme",
        key.split("_")[1],
        "laptop",
        "tiny",
    )
    (line,) = csv.DictReader(io.StringIO(run("usage", "--csv")))
    assert {name: str(value) for name, value in row.items()} == line
    assert run("usage", "--json", "--until", "2020-01-01") == "[]\n"


def config(checkpoint, url, **options) -> ServeConfig:
    return ServeConfig(path=checkpoint, database=url, **options)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org"])
def test_the_network_is_let_in_only_with_keys(tmp_path, url, run, host, capsys):
    open_to_all = config(tmp_path, url, host=host)
    with pytest.raises(ConfigError) as refused:
        _ask_for_keys(open_to_all, open_database(url))
    assert "axk1 tenants add" in refused.value.repair and "--without-tenants" in refused.value.repair
    assert _ask_for_keys(config(tmp_path, url, host=host, without_tenants=True), open_database(url)) is False
    assert "no API keys" in capsys.readouterr().err
    run("add", "acme")
    assert _ask_for_keys(open_to_all, open_database(url)) is True
    assert "1 organisation" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_this_machine_needs_no_key_as_long_as_there_is_no_organisation(tmp_path, url, host, capsys):
    assert _ask_for_keys(config(tmp_path, url, host=host), open_database(url)) is False
    assert "only this machine" in capsys.readouterr().err


def test_serve_itself_refuses(checkpoint, url):
    with pytest.raises(ConfigError, match="other machines"):
        cli.dispatch(["serve", str(checkpoint), "--host", "0.0.0.0", "--database", url])


def test_what_is_listed(run):
    made = json.loads(run("add", "acme", "--tokens-per-month", "1000", "--time-zone", "Asia/Seoul", "--json"))
    key = json.loads(run("key", "acme", "--name", "laptop", "--requests-per-minute", "5", "--json"))
    (row,) = json.loads(run("list", "acme", "--json"))
    assert row["id"] == made["id"] and row["tokens_per_month"] == 1000 and row["time_zone"] == "Asia/Seoul"
    assert [each["id"] for each in row["keys"]] == [key["id"]] and "sha256" not in row["keys"][0]
    table = run("list")
    assert "5 requests per minute" in table and "laptop" in table and key["key"] not in table
    run("limit", "acme", "--lift", "tokens_per_month", "--tokens-per-day", "7")
    run("limit", key["id"], "--tokens-per-minute", "9")
    run("revoke", key["key"])
    table = " ".join(run("list").split())
    assert "7 tokens per day" in table and "9 tokens per minute" in table and "revoked" in table
    events = [json.loads(line)["event"] for line in run("audit").splitlines()]
    assert events == ["organisation added", "key made", "changed", "changed", "key revoked"]


@pytest.mark.parametrize(
    ("words", "message", "repair"),
    [
        (["key", "amce"], "did you mean 'acme'", "axk1 tenants add"),
        (["add", "acme"], "exists already", "axk1 tenants limit"),
        (["add", "x", "--time-zone", "Korea/Seoul"], "Asia/Seoul", None),
        (["add", "x", "--tokens-per-day", "-1"], "tokens_per_day", None),
        (["add", " "], "organisation = ' '", None),
        (["revoke", "nothing"], "key = 'nothing'", "axk1 tenants list"),
        (["move", "nothing", "--to", "acme"], "key = 'nothing'", "axk1 tenants list"),
        (["limit", "acme"], "nothing is to be changed", "--tokens-per-day"),
        (["limit", "acme", "--lift", "tokens"], "lift = 'tokens'", None),
        (["usage", "--since", "yesterday"], "since = 'yesterday'", None),
        (["usage", "nobody"], "'nobody' does not exist", "axk1 tenants list"),
    ],
)
def test_errors_say_what_mends_them(run, words, message, repair):
    run("add", "acme")
    with pytest.raises(ConfigError) as refused:
        run(*words)
    assert message in refused.value.message and (repair is None or repair in refused.value.repair)


def test_a_cell_is_never_a_formula(run, url):
    run("add", "=1+1")
    key = run("key", "=1+1", "--name", "@x").strip().split("_")[1]
    with open_database(url).begin() as connection:
        connection.execute(LedgerEntry.__table__.insert().values(
            request="r", step="settled", organisation=json.loads(run("list", "--json"))[0]["id"], key=key, model="-m",
            route="chat", started=0, day="2026-11-22", written=0, tokens=1,
        ))  # fmt: skip
    (line,) = csv.DictReader(io.StringIO(run("usage", "--csv")))
    assert (line["organisation"], line["key_name"], line["model"]) == ("'=1+1", "'@x", "'-m")
