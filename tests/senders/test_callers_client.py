"""A caller's client stays the caller's: what he set holds, it is never closed, and its failures become ours."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import httpx2
import pytest

from handtruck.errors import ConnectionFailed, HandtruckError, TransferTimeout, UsageError
from handtruck.transport import foreign
from handtruck.transport.senders import ClientSender, _ThroughClient
from tests.scripted import SILENCE, Reply, client, serve, store, truncated
from tests.senders.support import BODY, GOES_RED, LIBRARIES, PART, http_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from handtruck.transport.senders import Draft, Prepared
    from tests.scripted import Request

pytestmark = [pytest.mark.anyio, LIBRARIES]

FOREVER: Final = 20.0


# -- What he set holds -------------------------------------------------------------------------------------------------


async def check_his_settings_hold(library: Any) -> None:
    seen: list[str] = []

    async def note_request(request: Any) -> None:
        assert isinstance(request, library.Request)
        seen.append(f"{request.method} {request.headers['authorization'].split()[0]}")
        request.headers["x-from-a-hook"] = "yes"

    async def note_response(response: Any) -> None:
        assert isinstance(response, library.Response)
        seen.append(str(response.status_code))

    options = {
        "event_hooks": {"request": [note_request], "response": [note_response]},
        "headers": {"X-Amz-Meta-Team": "blue", "User-Agent": "his"},
        "cookies": {"a": "b"},
    }
    async with store() as (_, tiny), http_client(library, **options) as http:
        s3 = client(tiny.peer, client=http)
        await s3.put("b/k", BODY)
        assert (await s3.get("b/k")).content == BODY
        assert seen == ["PUT AWS4-HMAC-SHA256", "200", "GET AWS4-HMAC-SHA256", "200"]
        assert tiny.calls[0][1].header("x-amz-meta-team") == "blue"
        for _, request in tiny.calls:
            assert (request.header("user-agent"), request.header("cookie")) == ("his", "a=b")
            assert request.header("x-from-a-hook") == "yes"
            assert "x-amz-meta-team" in (request.header("authorization") or "")


async def test_his_hooks_run_and_his_headers_and_cookies_go_out(library: Any) -> None:
    await check_his_settings_hold(library)


async def test_mutation_straight_to_his_transport(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def send(self: ClientSender, request: httpx.Request) -> httpx.Response:
        return await self._client._transport.handle_async_request(request)

    monkeypatch.setattr(ClientSender, "send", send)
    with pytest.raises(GOES_RED):
        await check_his_settings_hold(library)


async def test_mutation_a_request_of_our_own(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = ClientSender.prepare

    async def without_him(self: ClientSender, draft: Draft) -> Prepared:
        prepared: Any = await prepare(self, draft)
        request = library.Request(draft.method, draft.origin + draft.target, headers=draft.headers)
        request.stream, request.extensions = prepared._request.stream, prepared._request.extensions
        return _ThroughClient(self, request, prepared._body)

    monkeypatch.setattr(ClientSender, "prepare", without_him)
    with pytest.raises(GOES_RED):
        await check_his_settings_hold(library)


async def test_his_mounts_hold(library: Any) -> None:
    """Another road for one host only."""

    def answer(request: Any) -> Any:
        return library.Response(200, content=f"mounted {request.url.host}".encode())

    mounts = {"all://mounted.invalid": library.MockTransport(answer)}
    async with serve(Reply(body=b"the peer")) as peer, http_client(library, mounts=mounts) as http:
        assert (await client(peer, client=http).get("b/k")).content == b"the peer"
        elsewhere = client(peer, client=http, url="http://mounted.invalid")
        assert (await elsewhere.get("b/k")).content == b"mounted mounted.invalid"
        assert len(peer.requests) == 1


async def test_his_timeouts_hold_and_those_of_a_call_win(library: Any) -> None:
    async with serve(SILENCE) as peer:
        async with http_client(library, timeout=0.05) as http:
            s3 = client(peer, client=http, max_attempts=1)
            with pytest.raises(TransferTimeout, match="ReadTimeout"):
                await s3.get("b/k")
        async with http_client(library, timeout=FOREVER) as http:
            s3 = client(peer, client=http, max_attempts=1)
            for timeout in (0.05, httpx.Timeout(10, read=0.05), (10, 0.05, 10, 10)):
                with pytest.raises(TransferTimeout, match="ReadTimeout"):
                    await s3.get("b/k", timeout=timeout)


async def test_what_a_call_says_reaches_his_requests(library: Any) -> None:
    """All four timeouts, and the extensions."""
    seen: list[dict[str, Any]] = []

    async def note(request: Any) -> None:
        seen.append(dict(request.extensions))

    async with serve(Reply()) as peer, http_client(library, event_hooks={"request": [note]}, timeout=7) as http:
        s3 = client(peer, client=http)
        await s3.get("b/k", timeout=httpx.Timeout(1, read=2, write=3, pool=None), extensions={"mine": 1})
        await s3.get("b/k")
    assert [extensions["timeout"] for extensions in seen] == [
        {"connect": 1, "read": 2, "write": 3, "pool": None},
        dict.fromkeys(("connect", "read", "write", "pool"), 7),
    ]
    assert [extensions.get("mine") for extensions in seen] == [1, None]


async def test_the_librarys_own_timeout_is_understood(library: Any) -> None:
    async with serve(SILENCE) as peer, http_client(library) as http:
        with pytest.raises(TransferTimeout):
            await client(peer, client=http, max_attempts=1).get("b/k", timeout=library.Timeout(10, read=0.05))


async def test_his_auth_and_his_redirects_do_not_hold(library: Any) -> None:
    """A signature is for one host."""
    moved = Reply(status=307, headers=(("Location", "http://elsewhere.invalid/b/k"),))
    async with serve(moved) as peer, http_client(library, auth=("he", "hush"), follow_redirects=True) as http:
        response = await client(peer, client=http).get("b/k")
        assert response.status_code == 307
        assert (peer.requests[0].header("authorization") or "").startswith("AWS4-HMAC-SHA256 ")
        assert len(peer.requests) == 1


async def test_default_params_are_refused(library: Any) -> None:
    async with serve(Reply()) as peer, http_client(library, params={"acl": ""}) as http:
        with pytest.raises(UsageError, match="default params="):
            client(peer, client=http)


async def test_a_hook_that_raises_for_a_status_is_heard(library: Any) -> None:
    """He has judged the answer himself: his word stands, and the place comes back."""

    async def judge(response: Any) -> None:
        response.raise_for_status()

    hooks = {"response": [judge]}
    async with serve(Reply(status=404)) as peer, http_client(library, event_hooks=hooks) as http:
        s3 = client(peer, client=http)
        with pytest.raises(library.HTTPStatusError):
            await s3.get("b/k")
        assert s3._session.places.taken == 0


# -- It is his to close ------------------------------------------------------------------------------------------------


async def check_it_is_never_closed(library: Any) -> None:
    async with serve(Reply()) as peer, http_client(library) as http:
        async with client(peer, client=http) as s3:
            await s3.get("b/k")
        await s3.aclose()
        assert not http.is_closed
        assert (await http.get(peer.url)).status_code == 200
        assert peer.connections == 1
        with pytest.raises(UsageError, match="this S3Client is closed"):
            await s3.get("b/k")


async def test_it_is_never_closed(library: Any) -> None:
    await check_it_is_never_closed(library)


async def test_mutation_a_client_that_is_ours(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.client.ClientSender", partial(ClientSender, owned=True))
    with pytest.raises(GOES_RED):
        await check_it_is_never_closed(library)


async def test_a_closed_one_is_named(library: Any) -> None:
    async with serve(Reply()) as peer, http_client(library) as http:
        s3 = client(peer, client=http)
        await s3.get("b/k")
        await http.aclose()
        with pytest.raises(UsageError, match="given as client= is closed"):
            await s3.get("b/k")
        with pytest.raises(UsageError, match="given as client= is closed"):
            await s3.put_multipart("b/k", BODY, part_size=PART)
        assert len(peer.requests) == 1


async def closed_in_between(library: Any, close: Callable[[Any, Any], Awaitable[None]]) -> tuple[dict[str, Any], int]:
    """How two requests end of which the second waits for a place when ``close`` is called; how many were sent."""
    outcomes: dict[str, Any] = {}
    gate = anyio.Event()

    async def answer(_: Request) -> Reply:
        await gate.wait()
        return Reply()

    async with serve(answer) as peer, http_client(library, timeout=FOREVER) as http:
        s3 = client(peer, client=http, max_connections=1, max_attempts=1)

        async def ask(name: str) -> None:
            try:
                outcomes[name] = (await s3.get(f"b/{name}")).status_code
            except (HandtruckError, RuntimeError) as error:
                outcomes[name] = error

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(ask, "first")
                await peer.until(lambda: peer.busy == 1)
                group.start_soon(ask, "second")
                await anyio.wait_all_tasks_blocked()
                await close(s3, http)
                gate.set()
        assert s3._session.places.taken == 0
        return outcomes, len(peer.requests)


async def test_one_that_is_closed_while_a_request_waits_for_its_place(library: Any) -> None:
    async def close(_: Any, http: Any) -> None:
        await http.aclose()

    outcomes, sent = await closed_in_between(library, close)
    assert isinstance(outcomes["first"], ConnectionFailed)
    assert isinstance(outcomes["second"], UsageError)
    assert "given as client= is closed" in str(outcomes["second"])
    assert sent == 1


async def check_nothing_new_begins(library: Any) -> None:
    async def close(s3: Any, _: Any) -> None:
        await s3.aclose()

    outcomes, sent = await closed_in_between(library, close)
    assert outcomes["first"] == 200
    assert isinstance(outcomes["second"], UsageError)
    assert "this S3Client is closed" in str(outcomes["second"])
    assert sent == 1


async def test_a_closed_s3client_sends_nothing_that_still_waited_for_its_place(library: Any) -> None:
    """What is on the wire of his client goes on; nothing new begins."""
    await check_nothing_new_begins(library)


async def test_mutation_looking_only_beforehand(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def send(self: ClientSender, request: httpx.Request) -> httpx.Response:
        return await self._client.send(request, stream=True)

    monkeypatch.setattr(ClientSender, "send", send)
    with pytest.raises(GOES_RED):
        await check_nothing_new_begins(library)


# -- Its failures are ours ---------------------------------------------------------------------------------------------


def nobody() -> tuple[socket.socket, str]:
    """A port that is taken, and not listened at."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock, f"http://127.0.0.1:{sock.getsockname()[1]}"


async def check_a_refused_connection(library: Any) -> None:
    sock, url = nobody()
    with sock:
        async with serve(Reply()) as peer, http_client(library) as http:
            with pytest.raises(ConnectionFailed, match=r"GetObject b/k at .*refused.*\(4 attempts\)") as caught:
                await client(peer, client=http, url=url).get("b/k")
    assert isinstance(caught.value.__cause__, library.ConnectError)
    assert (caught.value.sent, caught.value.attempts) == (False, 4)


async def test_a_refused_connection(library: Any) -> None:
    await check_a_refused_connection(library)


async def test_mutation_errors_that_nobody_knows(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_kinds", lambda _: [])
    with pytest.raises(library.ConnectError):
        await check_a_refused_connection(library)


async def test_a_pool_that_is_too_small(library: Any) -> None:
    limits = library.Limits(max_connections=1)
    timeout = library.Timeout(FOREVER, pool=0.05)
    async with serve(SILENCE) as peer, http_client(library, limits=limits, timeout=timeout) as http:
        s3 = client(peer, client=http, max_connections=2, max_attempts=1)
        async with anyio.create_task_group() as group:
            group.start_soon(s3.get, "b/first")
            await peer.until(lambda: peer.busy == 1)
            with pytest.raises(TransferTimeout, match=r"PoolTimeout; .*set max_connections= of S3Client") as caught:
                await s3.get("b/second")
            group.cancel_scope.cancel()
        assert caught.value.sent is False
        assert isinstance(caught.value.__cause__, library.PoolTimeout)
        assert len(peer.requests) == 1


async def test_a_scheme_that_its_mounts_do_not_know(library: Any) -> None:
    class Picky(library.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            raise library.UnsupportedProtocol("not with me")

    async with serve(Reply()) as peer, http_client(library, transport=Picky()) as http:
        with pytest.raises(UsageError, match=r"GetObject b/k at .*not with me") as caught:
            await client(peer, client=http).get("b/k")
        assert isinstance(caught.value.__cause__, library.UnsupportedProtocol)


async def check_a_reset_is_resumed(library: Any, target: Path) -> None:
    async with store() as (_, tiny), http_client(library) as http:
        tiny.put("b/k", BODY)
        whole = tiny.GetObject
        tiny.on("GetObject", lambda request: truncated(whole(request, "b/k"), 300, "reset"), nth=1)
        s3 = client(tiny.peer, client=http)
        await s3.get_file_parallel("b/k", target, range_step=10 * PART)
        assert target.read_bytes() == BODY
        assert tiny.sent("GetObject")[0].header("range") == f"bytes=0-{10 * PART - 1}"
        assert len(tiny.calls) == 2


async def test_a_reset_in_a_body_is_resumed(library: Any, tmp_path: Path) -> None:
    await check_a_reset_is_resumed(library, tmp_path / "target")


async def test_mutation_a_reset_that_is_not_known_for_one(
    library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "_kinds", lambda _: [])
    with pytest.raises(library.TransportError):
        await check_a_reset_is_resumed(library, tmp_path / "target")


async def test_the_body_is_of_its_kind_on_every_attempt(library: Any) -> None:
    """The library looks at a stream's class; a second attempt sends all of it again."""
    async with store() as (_, tiny), http_client(library) as http:
        tiny.on("PutObject", Reply(status=503), nth=1)
        response = await client(tiny.peer, client=http).put("b/k", bytes(700_000))
        assert isinstance(response, library.Response)
        assert [len(request.body) for request in tiny.sent("PutObject")] == [700_000] * 2


def test_where_a_client_comes_from(library: Any) -> None:
    """However it was derived."""

    class Derived(library.AsyncClient):  # type: ignore[misc]
        pass

    class AsyncClient(Derived):
        pass

    for kind in (Derived, AsyncClient):
        sender = ClientSender(http_client(type("Library", (), {"AsyncClient": kind})))
        assert sender._library is library


def test_httpx2_is_another_library(library: Any) -> None:
    """Or these tests would be the same twice."""
    assert not issubclass(httpx2.AsyncClient, httpx.AsyncClient)
    assert not issubclass(httpx2.TransportError, httpx.TransportError)
