"""The session token is the server's business: no response, request or error tells it afterwards."""

from __future__ import annotations

import gc
import logging
import pickle
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

import pytest

from handtruck.errors import ConnectionFailed
from handtruck.transport.values import DirectResponse
from tests.scripted import RESET, Reply, client, serve
from tests.senders.support import GOES_RED, LIBRARIES, http_client

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

pytestmark = pytest.mark.anyio

TOKEN: Final = "marker-session-token"
NOTHING: Final = Reply(status=204, headers=(("Content-Length", None),))

_NOBODYS: Final = (type, ModuleType, FunctionType, CodeType)


def reachable(*roots: object) -> Iterator[object]:
    """Everything that hangs on these objects; not their classes, nor the modules behind functions."""
    seen: set[int] = set()
    todo: list[object] = list(roots)
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, _NOBODYS):
            continue
        seen.add(id(one))
        yield one
        todo += gc.get_referents(one)


def tellers(roots: Iterable[object]) -> list[object]:
    """What among them holds the token."""
    return [
        one
        for one in reachable(*roots)
        if (isinstance(one, str) and TOKEN in one) or (isinstance(one, bytes | bytearray) and TOKEN.encode() in one)
    ]


async def check_the_token_is_nowhere(reply: Reply, method: str) -> None:
    async with serve(reply) as peer, client(peer, session_token=TOKEN, max_attempts=1) as s3:
        response = await s3.request(method, "b/k", content=b"data" if method == "PUT" else None)
        assert peer.requests[0].header("x-amz-security-token") == TOKEN
        peer.requests.clear()
        assert tellers([response, response.__dict__]) == []
        assert response.request.headers["x-amz-security-token"] == "[secure]"
        assert tellers([response.request, response.request.__dict__, response.headers]) == []
        assert TOKEN.encode() not in pickle.dumps(response)
        for said in (repr(response), repr(response.request), repr(response.request.headers), str(response.__dict__)):
            assert TOKEN not in said


@pytest.mark.transport_only("what httpx and httpcore hang on a response is theirs: pool, connection, request")
@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
async def test_the_token_is_nowhere(method: str) -> None:
    await check_the_token_is_nowhere(NOTHING, method)


async def test_mutation_headers_as_they_were_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.transport.senders.TOKEN_HEADERS", frozenset({"x-amz-another"}))
    with pytest.raises(GOES_RED):
        await check_the_token_is_nowhere(NOTHING, "GET")


async def test_mutation_a_head_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    init = DirectResponse.__init__

    def keeping(self: DirectResponse, arrival: Any, draft: Any, headers: Any, elapsed: float) -> None:
        init(self, arrival, draft, headers, elapsed)
        self.call = [f"x-amz-security-token: {TOKEN}".encode()]  # type: ignore[attr-defined]

    monkeypatch.setattr(DirectResponse, "__init__", keeping)
    with pytest.raises(GOES_RED):
        await check_the_token_is_nowhere(NOTHING, "GET")


@LIBRARIES
async def test_the_token_is_told_to_nobody_but_the_server(library: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    replies = [Reply(), RESET, Reply(status=403)]
    async with serve(replies) as peer, http_client(library) as http:
        s3 = client(peer, client=http, session_token=TOKEN, max_attempts=1)
        response = await s3.get("b/k")
        with pytest.raises(ConnectionFailed) as caught:
            await s3.get("b/k")
        refused = await s3.get("b/k")
        assert [request.header("x-amz-security-token") for request in peer.requests] == [TOKEN] * 3
    for answer in (response, refused):
        assert answer.request.headers["x-amz-security-token"] == "[secure]"
    assert dict(caught.value.request.headers).keys() <= {"host"}
    cause: Any = caught.value.__cause__
    assert cause.request.headers["x-amz-security-token"] == "[secure]"
    assert "marker" not in caplog.text
