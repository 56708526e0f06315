"""The web connector against a real server of SearXNG's JSON form, with real pages behind it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from axk1.cli import dispatch
from axk1.core.errors import AXK1Error
from axk1.search.connectors.searxng import SearXNG, cut
from axk1.search.retriever import Bounds

_SEJONG = (
    "<p>세종대왕은 조선의 제4대 국왕이다. 그는 1397년 5월 15일에 태어났다.</p>"
    "<p>세종대왕은 1443년에 훈민정음을 창제하였고 1446년에 반포하였다.</p>"
    "<p>그는 집현전을 두어 학자를 길렀고, 장영실에게 물시계와 측우기를 만들게 하였다. 농사직설을 펴내어 농사를 "
    "도왔으며, 북쪽에 사군과 육진을 두어 국경을 정하였다. 이러한 일들은 조선 초기의 과학과 문화를 크게 넓혔다.</p>"
)
_TOWER = "<p>The Eiffel Tower is 330 metres tall. It was finished in March 1889 for the World's Fair in Paris.</p>"


class Web(ThreadingHTTPServer):
    """A search engine and its two pages."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[dict[str, list[str]]] = []
        self.status = 200


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        pages = {"/sejong": _SEJONG, "/tower": _TOWER}
        if parts.path == "/search":
            self.server.asked.append(parse_qs(parts.query))
            results = [
                {"url": f"{self.server.url}/moved", "title": "세종대왕", "publishedDate": "2024-05-01T00:00:00"},
                {"url": f"{self.server.url}/tower", "title": "Eiffel Tower", "publishedDate": None},
                {"url": f"{self.server.url}/gone", "title": "Gone", "publishedDate": "2025-01-01T00:00:00"},
            ]
            body = json.dumps({"query": "q", "results": results, "answers": [], "suggestions": []})
            self._send(self.server.status, "application/json", body)
        elif parts.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/sejong")
            self.end_headers()
        elif parts.path in pages:
            menu = "<nav><a href='/'>로그인</a> <a href='/x'>메뉴</a></nav>"
            page = (
                f"<html><head><title>t</title></head><body>{menu}<article>{pages[parts.path]}</article></body></html>"
            )
            self._send(200, "text/html; charset=utf-8", page)
        else:
            self._send(404, "text/html", "no such page")

    def _send(self, status: int, kind: str, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def searxng(web) -> Iterator[SearXNG]:
    opened = SearXNG(web.url, allow_private=True)
    yield opened
    opened.close()


def test_pages_become_passages(searxng, web):
    hits = searxng.search("훈민정음은 언제 창제되었나요?")
    assert web.asked == [{"q": ["훈민정음은 언제 창제되었나요?"], "format": ["json"]}]
    first = hits[0].passage
    assert "1443년" in first.text
    assert first.title == "세종대왕"
    assert first.date == "2024-05-01"
    assert first.document == f"{web.url}/moved"
    assert "로그인" not in searxng.document_text(first.document)
    for hit in hits:
        passage = hit.passage
        assert searxng.document_text(passage.document)[passage.start : passage.end] == passage.text


def test_bounds(searxng, web):
    assert not searxng.search("세종", bounds=Bounds(since="2024-06-01"))
    dated = searxng.search("세종", bounds=Bounds(until="2024-12-31"))
    assert {hit.passage.document for hit in dated} == {f"{web.url}/moved"}  # a page without a date is left out
    sites = searxng.search("tower", bounds=Bounds(documents=(f"{web.url}/tower",)))
    assert {hit.passage.document for hit in sites} == {f"{web.url}/tower"}
    assert not searxng.search("tower", bounds=Bounds(documents=("https://example.org/",)))


def test_pages_of_the_own_network_are_not_fetched(web):
    public = SearXNG(web.url)
    assert public.search("세종대왕") == []
    public.close()


def test_a_server_without_json_says_how_to_mend_it(searxng, web):
    web.status = 403
    with pytest.raises(AXK1Error, match="status 403") as caught:
        searxng.search("세종")
    assert "settings.yml" in str(caught.value.repair)


def test_nobody_there():
    with pytest.raises(AXK1Error, match="does not answer"):
        SearXNG("http://127.0.0.1:9").search("세종")
    with pytest.raises(AXK1Error, match="web = 'example'"):
        SearXNG("example")


def test_passages_are_whole_sentences():
    text = "가나다라마바사 아자차카타파하입니다. " * 100
    spans = cut(text)
    assert len(spans) > 1
    assert all(end - start <= 800 for start, end in spans)
    assert all(text[start:end].endswith("입니다.") for start, end in spans)


def test_the_command_plans_without_asking_anybody(capsys):
    dispatch(["ask", "훈민정음은 언제 창제되었나요?", "--web", "http://127.0.0.1:9", "--dry-run"])
    assert "the web, through http://127.0.0.1:9" in capsys.readouterr().err
    with pytest.raises(AXK1Error, match="question = ' '"):
        dispatch(["ask", " "])
