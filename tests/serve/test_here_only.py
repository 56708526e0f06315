"""A server without keys answers programs and pages of this machine, and no page that pretends to be one."""

import httpx
import pytest
from running_server import listening
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from axk1.serve.here_only import is_here
from axk1.serve.upstream.server import Upstream
from axk1.serve.upstream.service import UpstreamService


@pytest.fixture(scope="module")
def url():
    with listening(UpstreamService([Upstream("http://127.0.0.1:9/v1")])) as url:
        yield url


@pytest.mark.parametrize(
    ("address", "here"),
    [("//127.0.0.1:8000", True), ("//localhost", True), ("//[::1]:80", True), ("http://localhost:3000", True),
     ("//evil.example:8000", False), ("http://127.0.0.1.evil.example", False), ("null", False), ("//", False),
     ("http://127.0.0.1@evil.example", False), ("//[::1", False)],
)  # fmt: skip
def test_names_of_this_machine(address, here):
    assert is_here(address) is here


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 200), ({"Origin": "http://localhost:5173"}, 200), ({"Host": "evil.example:8000"}, 421),
     ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403)],
)  # fmt: skip
def test_pages_of_other_sites_are_refused(url, headers, status):
    answer = httpx.get(f"{url}/metrics", headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert "axk1 tenants add" in answer.json()["error"]["message"]


def test_their_sockets_too(url):
    with pytest.raises(InvalidStatus, match="403"):
        connect(url.replace("http", "ws") + "/v1/responses", origin="http://evil.example")
