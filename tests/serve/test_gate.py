"""The gate, as an attacker would try it, and the walls between tenants behind it."""

import json
import re
import socket
from collections.abc import Iterator

import httpx
import pytest
from running_server import start
from test_metering import Metered
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from axk1.serve.tenants import keys
from axk1.serve.tenants.report import audit_rows

BODY = {"prompt": "a", "max_tokens": 1}


@pytest.fixture(scope="module")
def metered(network, tokenizer, tmp_path_factory) -> Iterator[Metered]:
    url = f"sqlite:///{tmp_path_factory.mktemp('gate')}/axk1.db"
    for running in start(network, tokenizer, database=url, with_tenants=True):
        yield Metered(running, url)


@pytest.fixture(scope="module")
def key(metered) -> str:
    return metered.key()


def raw(metered, *headers: bytes, path: bytes = b"/v1/completions") -> tuple[int, dict]:
    """Sends headers as they are; returns the status and the body."""
    body = json.dumps(BODY).encode()
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: x", b"Content-Type: application/json", b"Connection: close"]
    lines += [b"Content-Length: %d" % len(body), *headers]
    port = int(metered.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, rest = answer.partition(b"\r\n\r\n")
    text = rest.decode(errors="replace")
    return int(head.split()[1]), json.loads(text) if text.startswith("{") else {}


def wrong_keys(key: str) -> dict[str, bytes]:
    name, secret = key.split("_", 2)[1:]
    wide = "".join(chr(ord(c) + 0xFEE0) for c in key)
    return {
        "nothing": b"",
        "no header at all": b"-",
        "another secret": f"axk1_{name}_{'A' * 43}".encode(),
        "another id": f"axk1_{'0' * 16}_{secret}".encode(),
        "the hash instead of the key": keys.sha256(key).encode(),
        "upper case": key.upper().encode(),
        "one letter in the other case": (key[:-1] + key[-1].swapcase() + "x").encode(),
        "full-width letters": wide.encode(),
        "a zero-width space": (key + "\u200b").encode(),
        "latin-1 bytes": key.encode() + b"\xff",
        "quotes": f'"{key}"'.encode(),
        "cut": key[:-1].encode(),
        "longer": (key + "A").encode(),
        "sql": b"axk1_' OR '1'='1_" + b"A" * 43,
        "sql in the secret": f"axk1_{name}_' OR 1=1; --".encode(),
        "a wildcard": f"axk1_{name}_%".encode(),
        "two keys": f"{key},{key}".encode(),
        "a space between": f"{key} {key}".encode(),
    }


CASES = list(wrong_keys("axk1_0_0"))


@pytest.mark.parametrize("case", CASES)
def test_only_the_very_key_opens(metered, key, case):
    wrong = wrong_keys(key)[case]
    headers = [] if wrong == b"-" else [b"Authorization: Bearer " + wrong]
    status, body = raw(metered, *headers)
    assert status == 401
    assert body["error"]["type"] == "invalid_request_error" and body["error"]["code"] == "invalid_api_key"
    assert key not in json.dumps(body)


def test_the_case_of_the_scheme_and_blanks_do_not_matter_but_the_scheme_does(metered, key):
    for header in ("Bearer ", "bearer ", "BEARER   "):
        assert raw(metered, f"authorization: {header}{key}".encode())[0] == 200
    for header in ("Basic ", "Token ", "", "Bearer"):
        assert raw(metered, f"Authorization: {header}{key}".encode())[0] == 401


@pytest.mark.parametrize("case", ["good, bad", "bad, good", "good, good", "folded"])
def test_two_authorization_headers_are_refused(metered, key, case):
    good, bad = f"Authorization: Bearer {key}".encode(), b"authorization: Bearer nothing"
    pairs = {"good, bad": (good, bad), "bad, good": (bad, good), "good, good": (good, good)}
    if case == "folded":  # an obsolete way to write one header in two lines
        assert raw(metered, good, b" Bearer nothing")[0] in (400, 401)
        return
    status, body = raw(metered, *pairs[case])
    assert status == 401 and "more than one" in body["error"]["message"]


def test_other_headers_open_nothing(metered, key):
    other = metered.key()
    names = ("X-Api-Key", "Api-Key", "X-Forwarded-Authorization", "Cookie", "Proxy-Authorization", "Authorization_")
    for name in names:
        assert raw(metered, f"{name}: {key}".encode())[0] == 401
    given = [f"X-Axk1-Organisation: {metered.directory.find('org 1')}", f"Authorization: Bearer {other}"]
    assert raw(metered, *(each.encode() for each in given))[0] == 200
    assert len(metered.entries(other)) == 1


@pytest.mark.parametrize("place", ["?api_key={}", "?key={}", "?x={}", "?API_KEY=1", "?access%5Ftoken={}"])
def test_a_key_in_the_address_is_refused_even_beside_a_good_header(metered, key, place):
    path = f"/v1/completions{place.format(key)}".encode()
    status, body = raw(metered, f"Authorization: Bearer {key}".encode(), path=path)
    assert status == 401 and "address" in body["error"]["message"] and key not in json.dumps(body)


def test_what_is_open_and_what_is_not(metered, key):
    for path in ("/health", "/", "/web/style.css"):
        assert httpx.get(metered.url + path).status_code == 200
    closed = ("/v1/models", "/v1/models/tiny", "/docs", "/openapi.json", "/v1/responses/resp_1", "/nothing")
    closed += ("/health/", "//health", "/web/../v1/models", "/%2e/v1/models", "/web/")
    for path in closed:
        assert httpx.get(metered.url + path).status_code == 401, path
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/tokenize"):
        assert httpx.post(metered.url + path, json={}).status_code == 401, path
    assert httpx.get(f"{metered.url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_metrics_open_for_this_machine_and_for_keys_made_for_it(metered, key):
    _, reader = metered.directory.add_key("org 1", metrics_only=True)
    address, through_proxy = f"{metered.url}/metrics", {"X-Forwarded-For": "127.0.0.1"}
    assert httpx.get(address).status_code == 200
    assert httpx.get(address, headers=through_proxy).status_code == 401
    assert httpx.get(address, headers={"Authorization": f"Bearer {key}", **through_proxy}).status_code == 403
    assert httpx.get(address, headers={"Authorization": f"Bearer {reader}", **through_proxy}).status_code == 200
    assert raw(metered, f"Authorization: Bearer {reader}".encode())[0] == 403


def test_a_websocket_needs_a_key(metered, key):
    address = metered.url.replace("http", "ws") + "/v1/responses"
    for headers in ({}, {"Authorization": "Bearer nothing"}):
        with pytest.raises(InvalidStatus) as refused:
            connect(address, additional_headers=headers)
        assert refused.value.response.status_code == 401
    with pytest.raises(InvalidStatus):
        connect(f"{address}?api_key={key}", additional_headers={"Authorization": f"Bearer {key}"})
    with connect(address, additional_headers={"Authorization": f"Bearer {key}"}):
        pass


def test_no_tenant_finds_another_s_responses(metered):
    mine, other = ({"Authorization": f"Bearer {metered.key()}"} for _ in range(2))
    address = f"{metered.url}/v1/responses"
    ask = {"model": "tiny", "input": "열려라 참깨", "max_output_tokens": 2, "store": True}
    made = httpx.post(address, json=ask, headers=mine, timeout=60).raise_for_status().json()["id"]
    ways = {
        "read": lambda h: httpx.get(f"{address}/{made}", headers=h),
        "items": lambda h: httpx.get(f"{address}/{made}/input_items", headers=h),
        "go on": lambda h: httpx.post(address, json=ask | {"previous_response_id": made}, headers=h, timeout=60),
        "delete": lambda h: httpx.delete(f"{address}/{made}", headers=h),
    }
    unknown = httpx.get(f"{address}/{made[:-1]}0", headers=other)
    for name, way in ways.items():
        refused = way(other)
        assert refused.status_code == 404 and "참깨" not in refused.text, name
        assert refused.json()["error"]["type"] == unknown.json()["error"]["type"]
    assert all(ways[name](mine).status_code == 200 for name in ("read", "items", "go on", "delete"))


def test_the_database_holds_no_key(metered, key):
    with metered.database.connect() as connection:
        tables = [row[0] for row in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")]
        text = str([connection.exec_driver_sql(f"SELECT * FROM {name}").all() for name in tables])
    assert keys.sha256(key) in text and key.rsplit("_", 1)[0].split("_")[1] in text
    assert key not in text and key.split("_", 2)[2] not in text
    assert not re.search(r"axk1_[0-9a-f]{16}_", text)


def test_names_are_names_and_nothing_else(metered):
    for name in ("'; DROP TABLE keys; --", 'a"b', "%", "_", "ㄱ관"):
        metered.directory.add(name, time_zone="Asia/Seoul")
        fresh, text = metered.directory.add_key(name, name=name)
        assert raw(metered, f"Authorization: Bearer {text}".encode())[0] == 200
        made = [row for row in audit_rows(metered.database, metered.directory.find(name)) if row.get("key") == fresh]
        assert [row["event"] for row in made] == ["key made", "request"]


def test_comparison_is_the_one_that_takes_the_same_time_for_all(monkeypatch):
    seen = []
    real = keys.hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda a, b: (seen.append((a, b)), real(a, b))[1])
    name, text = keys.new_key()
    assert keys.id_of(text.encode()) == name and keys.matches(text.encode(), keys.sha256(text))
    assert not keys.matches(text.encode() + b"x", keys.sha256(text))
    assert len(seen) == 2 and all(len(a) == len(b) == 64 for a, b in seen)
