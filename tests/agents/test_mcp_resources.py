"""Files and documents as MCP resources: read, listed, completed, listened to; and kept from everybody else."""

import asyncio
import base64
import os
import sys
import warnings
from pathlib import Path
from urllib.parse import quote

import httpx
import mcp_types as types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import Client, MCPError
from mcp.server.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated, ToolsListChanged
from programs import free_port, listening_program

from axk1.agents.host import Equipment
from axk1.agents.mcp.offered import offered
from axk1.agents.mcp.served import Content, Offer, Served, ServedPrompt, ServedResource, said, text_result
from axk1.agents.mcp.server import mcp_server
from axk1.agents.mcp.workspace_files import ADDRESS, workspace_files
from axk1.search.build import BuildConfig, build
from axk1.search.documents.sources import Source
from axk1.search.index.index import Index
from axk1.serve.caller import ANYBODY, Caller
from axk1.serve.database import open_database
from axk1.serve.tenants.directory import Directory

REPOSITORY = Path(__file__).parents[2]
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])


@pytest.fixture
def files(tmp_path):
    """The workspace of everybody, beside that of another organisation."""
    mine, theirs = tmp_path / "work/everybody", tmp_path / "work/other"
    for folder in (mine / "reports", theirs, mine / ".history"):
        folder.mkdir(parents=True)
    (mine / "note.txt").write_text("안녕")
    (mine / "reports/계획 #1?.md").write_text("# Plan")
    (mine / "point.png").write_bytes(PIXEL)
    (mine / ".history/old.txt").write_text("what stood there before")
    (theirs / "secret.txt").write_text("SECRET")
    (tmp_path / "passwords").write_text("SECRET")
    (mine / "link.txt").symlink_to(theirs / "secret.txt")
    (mine / "linked").symlink_to(theirs, target_is_directory=True)
    os.mkfifo(mine / "pipe")
    return mine


def server(tmp_path, **options):
    return mcp_server(offered(Equipment({}, tmp_path / "work"), **options))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    (folder / "pages").mkdir()
    (folder / "pages/연금법.md").write_text("# 국민연금법\n\n노령연금은 60세가 된 때부터 지급한다.")
    (folder / "pages/guide.txt").write_text("Students learn from cached distributions of their teacher.")
    return Index.open(build(BuildConfig(folder / "index", (Source(folder / "pages"),), threads=1)))


@MODES
def test_files_are_listed_and_read_as_text_or_bytes(tmp_path, files, mode):
    async def main():
        async with Client(server(tmp_path), mode=mode) as client:
            listed = {one.name: one for one in (await client.list_resources()).resources}
            (template,) = (await client.list_resource_templates()).resource_templates
            return listed, template, {name: await client.read_resource(one.uri) for name, one in listed.items()}

    listed, template, read = asyncio.run(main())
    assert (
        sorted(listed) == ["note.txt", "point.png", "reports/계획 #1?.md"]
        and template.uri_template == ADDRESS + "{+path}"
    )
    assert listed["point.png"].mime_type == "image/png" and listed["point.png"].size == len(PIXEL)
    assert base64.b64decode(read["point.png"].contents[0].blob) == PIXEL
    assert read["note.txt"].contents[0].text == "안녕" and read["note.txt"].contents[0].mime_type == "text/plain"
    assert read["reports/계획 #1?.md"].contents[0].text == "# Plan"


ATTACKS = [
    "../other/secret.txt",
    "..%2fother%2fsecret.txt",
    "%2e%2e/other/secret.txt",
    "%2E%2E%2Fother%2Fsecret.txt",
    "reports/../../other/secret.txt",
    "reports/%2e%2e/%2e%2e/other/secret.txt",
    "%252e%252e/other/secret.txt",
    "..\\other\\secret.txt",
    "link.txt",
    "linked/secret.txt",
    ".history/old.txt",
    "reports/../.history/old.txt",
    "%2ehistory/old.txt",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "note.txt%00.png",
    "~/secret.txt",
    "",
    ".",
    "reports",
    "pipe",
    "../../passwords",
    "a" * 5000,
]


@MODES
def test_no_address_leads_out_of_the_workspace(tmp_path, files, mode):
    absolute = [quote(str(tmp_path / "passwords")), f"file://{tmp_path}/passwords", "axk1://workspace@x/note.txt"]
    others = [*absolute, "AXK1://workspace/note.txt", "axk1://other/secret.txt", "axk1://workspace", "", "note.txt"]
    addresses = [ADDRESS + one for one in [*ATTACKS, absolute[0]]] + others

    async def main():
        async with Client(server(tmp_path), mode=mode) as client:
            for uri in addresses:
                with pytest.raises(MCPError) as refused:
                    print(uri, await client.read_resource(uri))
                error = refused.value.error
                assert (error.code, error.message) == (types.INVALID_PARAMS, "Resource not found"), uri
                assert error.data == {"uri": uri}  # the same for all: who tries learns nothing

    asyncio.run(main())


@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(["..", ".", "%2e%2e", "%2f", "/", "\\", "other", "secret.txt", "linked", "note.txt"])
    )
)
def test_whatever_is_asked_for_secrets_stay(tmp_path_factory, parts):
    root = tmp_path_factory.getbasetemp() / "fixed"
    mine, theirs = root / "mine", root / "other"
    if not root.exists():
        mine.mkdir(parents=True)
        theirs.mkdir()
        (mine / "note.txt").write_text("mine")
        (theirs / "secret.txt").write_text("SECRET")
        (mine / "linked").symlink_to(theirs, target_is_directory=True)
    resource = workspace_files(lambda _: mine)
    values = resource.match(ADDRESS + "/".join(parts))
    found = None if values is None else resource.read(ANYBODY, values)
    assert found is None or found.body == "mine"


def test_each_organisation_has_its_own_files(tmp_path, files):
    offer = offered(Equipment({}, tmp_path / "work"))
    (resource,) = offer.resources.values()
    other = Caller(tenant="other", key="k")
    assert [one.name for one in resource.entries(other)] == ["secret.txt"]
    assert resource.read(other, {"path": "secret.txt"}).body == "SECRET"
    assert resource.read(ANYBODY, {"path": "secret.txt"}) is None
    assert list(resource.complete["path"](ANYBODY, "secret", {})) == []
    assert resource.version(ANYBODY, {"path": "secret.txt"}) == ""


def test_many_files_come_in_pages(tmp_path):
    folder = tmp_path / "work/everybody"
    folder.mkdir(parents=True)
    for number in range(450):
        (folder / f"{number:03}.txt").touch()

    async def main():
        names, cursor = [], None
        async with Client(server(tmp_path)) as client:
            while True:
                page = await client.list_resources(cursor=cursor)
                names += [one.name for one in page.resources]
                cursor = page.next_cursor
                if cursor is None:
                    break
            path = types.ResourceTemplateReference(uri=ADDRESS + "{+path}")
            many = (await client.complete(path, {"name": "path", "value": ""})).completion
            few = (await client.complete(path, {"name": "path", "value": "44"})).completion
            for wrong in ("-1", "x", "1" * 50, "１"):
                with pytest.raises(MCPError, match="cursor"):
                    await client.list_resources(cursor=wrong)
        return names, many, few

    names, many, few = asyncio.run(main())
    assert names == [f"{number:03}.txt" for number in range(450)]
    assert len(many.values) == 100 and many.has_more
    assert few.values == ["044.txt", "144.txt", "244.txt", "344.txt", *(f"44{digit}.txt" for digit in range(10))]
    assert few.total == 14 and not few.has_more


def test_documents_and_passages_of_the_index_are_read(tmp_path, library):
    async def main():
        async with Client(server(tmp_path, library=library)) as client:
            listed = {one.name: one for one in (await client.list_resources()).resources}
            guide = await client.read_resource(listed["pages/guide.txt"].uri)
            answer = await client.call_tool("answer", {"question": "노령연금은 언제부터 지급하나요?"})
            (link,) = [one for one in answer.content if isinstance(one, types.ResourceLink)]
            passage = await client.read_resource(link.uri)
            reference = types.ResourceTemplateReference(uri="axk1://documents/{+name}")
            named = await client.complete(reference, {"name": "name", "value": "국민"})  # a part of its title
            for uri in ("axk1://passages/none", "axk1://documents/none", "axk1://documents/../pages/guide.txt"):
                with pytest.raises(MCPError, match="not found"):
                    await client.read_resource(uri)
            return guide, passage, named

    guide, passage, named = asyncio.run(main())
    assert guide.contents[0].text.startswith("Students learn")
    assert "60세" in passage.contents[0].text and "pages/연금법.md" in passage.contents[0].text
    assert named.completion.values == ["pages/연금법.md"]


async def events_of(subscription, count):
    found = []
    async with asyncio.timeout(20):
        async for event in subscription:
            found.append(event)
            if len(found) == count:
                return found


def test_a_client_that_listens_hears_of_its_files(tmp_path, files):
    offer = offered(Equipment({}, tmp_path / "work"))

    async def nothing(_):
        return text_result("")

    async def empty(_):
        return [said("")]

    async def main():
        async with Client(mcp_server(offer)) as client:
            uris = [ADDRESS + name for name in ("note.txt", "new.txt", "../other/secret.txt", "secret.txt")]
            async with client.listen(resource_subscriptions=uris) as subscription:
                (tmp_path / "work/other/secret.txt").write_text("changed")  # nothing of ours
                (files / "note.txt").write_text("new words")
                first = await events_of(subscription, 1)
                (files / "new.txt").write_text("new file")
                second = await events_of(subscription, 1)
            lists = {"tools_list_changed": True, "prompts_list_changed": True, "resources_list_changed": True}
            async with client.listen(**lists) as subscription:
                offer.add(Served(name="more", description="More.", schema={"type": "object"}, call=nothing))
                offer.add(ServedPrompt(name="more", description="More.", get=empty))
                (files / "newer.txt").touch()
                third = await events_of(subscription, 3)
            with pytest.raises(MCPError, match="not found"):
                async with client.listen(resource_subscriptions=["file:///etc/passwd"]):
                    pass
            assert (await client.call_tool("more", {})).content[0].text == ""
            return first, second, third

    first, second, third = asyncio.run(main())
    assert first == [ResourceUpdated(ADDRESS + "note.txt")] and second == [ResourceUpdated(ADDRESS + "new.txt")]
    assert set(third) == {ToolsListChanged(), PromptsListChanged(), ResourcesListChanged()}


def test_a_client_of_the_older_protocols_subscribes(tmp_path, files):
    heard = asyncio.Queue()

    async def hear(message):
        if isinstance(message, types.ResourceUpdatedNotification):
            heard.put_nowait(message.params.uri)

    async def main():
        async with Client(server(tmp_path), mode="legacy", message_handler=hear) as client:
            await client.subscribe_resource(ADDRESS + "note.txt")
            await client.subscribe_resource(ADDRESS + "point.png")
            await client.unsubscribe_resource(ADDRESS + "point.png")
            (files / "point.png").write_bytes(b"other")
            (files / "note.txt").write_text("new words")
            first = await asyncio.wait_for(heard.get(), 20)
            with pytest.raises(MCPError, match="not found"):
                await client.subscribe_resource("file:///etc/passwd")
            watching = [task for task in asyncio.all_tasks() if "_notify" in repr(task)]
            assert len(watching) == 1
        await asyncio.sleep(0.1)
        return first, [task for task in asyncio.all_tasks() if "_notify" in repr(task)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # subscribing so is deprecated
        first, left = asyncio.run(main())
    assert first == ADDRESS + "note.txt" and heard.empty()
    assert left == []  # it ends with the connection


def test_what_breaks_does_not_tell_how(tmp_path):
    def broken(*_):
        raise RuntimeError(f"a path such as {tmp_path}")

    offer = Offer(ServedResource(uri="test://broken", name="broken", description="Breaks.", read=broken))
    offer.add(
        ServedResource(uri="test://{x}", name="any", description="Any.", read=lambda _, v: Content(v["x"], "a/b"))
    )

    async def main():
        async with Client(mcp_server(offer)) as client:
            assert (await client.read_resource("test://fine")).contents[0].text == "fine"
            reference = types.ResourceTemplateReference(uri="broken://{x}")
            offer.add(
                ServedResource(
                    uri=reference.uri, name="b", description="Breaks.", read=broken, entries=broken,
                    complete={"x": broken},
                )
            )  # fmt: skip
            for broken_request in (
                client.read_resource("test://broken"),
                client.list_resources(),
                client.complete(reference, {"name": "x", "value": ""}),
            ):
                with pytest.raises(MCPError) as refused:
                    await broken_request
                error = refused.value.error
                assert error.code == types.INTERNAL_ERROR and str(tmp_path) not in error.message

    asyncio.run(main())


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    """A server over HTTP with two organisations: its address, and the key of each."""
    folder = tmp_path_factory.mktemp("keyed")
    database = f"sqlite:///{folder}/axk1.db"
    directory = Directory(open_database(database))
    keys, folders = {}, {}
    for name in ("acme", "globex"):
        organisation = directory.add(name, time_zone="Asia/Seoul")
        _, keys[name] = directory.add_key(name)
        folders[name] = folder / "work" / organisation
        folders[name].mkdir(parents=True)
        (folders[name] / f"{name}.txt").write_text(f"SECRET of {name}")
    port = free_port()
    command = ["-m", "axk1", "mcp", "serve", "--workspace", str(folder / "work"), "--database", database]
    with listening_program([sys.executable, *command, "--port", str(port)], port, cwd=REPOSITORY):
        yield f"http://127.0.0.1:{port}/mcp", keys, folders


def ask(url, key, method, revision="2026-07-28", **params):
    """One request as an attacker writes it, by hand."""
    envelope = {"io.modelcontextprotocol/protocolVersion": revision, "io.modelcontextprotocol/clientCapabilities": {}}
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": revision, "Mcp-Method": method}
    headers |= {"Authorization": f"Bearer {key}"} if key is not None else {}
    name = params.get("uri") or params.get("name")
    headers |= {"Mcp-Name": name} if name else {}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": envelope}}
    return httpx.post(url, json=body, headers=headers, timeout=20)


def test_without_a_key_nothing_is_listed_or_read(keyed):
    url, keys, _ = keyed
    requests = [
        ("resources/list", {}),
        ("resources/templates/list", {}),
        ("resources/read", {"uri": ADDRESS + "acme.txt"}),
        ("prompts/list", {}),
        ("prompts/get", {"name": "summarise_file", "arguments": {"path": "acme.txt"}}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "a", "value": ""}}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": [ADDRESS + "acme.txt"]}}),
        ("tools/list", {}),
        ("server/discover", {}),
    ]
    for method, params in requests:
        for key in (None, "wrong", keys["acme"][:-1], keys["acme"] + "x", keys["acme"].upper()):
            answer = ask(url, key, method, **params)
            assert answer.status_code == 401 and "SECRET" not in answer.text, (method, key)
    assert httpx.get(url, headers={"Accept": "text/event-stream"}).status_code == 401
    assert ask(url, keys["acme"], "resources/list").status_code == 200


def test_a_key_opens_its_own_files_alone(keyed):
    url, keys, folders = keyed
    listed = ask(url, keys["acme"], "resources/list").json()["result"]["resources"]
    assert [one["name"] for one in listed] == ["acme.txt"]
    assert "SECRET of acme" in ask(url, keys["acme"], "resources/read", uri=ADDRESS + "acme.txt").text
    theirs = folders["globex"]
    for path in ("globex.txt", f"../{theirs.name}/globex.txt", f"%2e%2e%2f{theirs.name}%2fglobex.txt", str(theirs)):
        answer = ask(url, keys["acme"], "resources/read", uri=ADDRESS + path)
        assert answer.json()["error"]["code"] == types.INVALID_PARAMS and "SECRET" not in answer.text
        got = ask(url, keys["acme"], "prompts/get", name="summarise_file", arguments={"path": path})
        assert "error" in got.json() and "SECRET" not in got.text
    values = {"ref": {"type": "ref/resource", "uri": ADDRESS + "{+path}"}, "argument": {"name": "path", "value": ""}}
    completed = ask(url, keys["globex"], "completion/complete", **values).json()["result"]["completion"]["values"]
    assert completed == ["globex.txt"]


def test_a_session_of_the_older_protocols_is_its_own_alone(keyed):
    url, keys, _ = keyed
    accept = {"Accept": "application/json, text/event-stream"}
    mine = {**accept, "Authorization": f"Bearer {keys['acme']}"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    begun = httpx.post(url, headers=mine, json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    session = {"Mcp-Session-Id": begun.headers["mcp-session-id"], "MCP-Protocol-Version": "2025-11-25"}
    httpx.post(url, headers=mine | session, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
    read = {"jsonrpc": "2.0", "id": 2, "method": "resources/read", "params": {"uri": ADDRESS + "acme.txt"}}
    assert "SECRET of acme" in httpx.post(url, headers=mine | session, json=read).text
    stolen = {**accept, "Authorization": f"Bearer {keys['globex']}"} | session
    assert "SECRET of acme" not in httpx.post(url, headers=stolen, json=read).text
    assert httpx.post(url, headers=accept | session, json=read).status_code == 401
