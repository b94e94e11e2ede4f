"""Directory buckets (S3 Express One Zone): objects are signed with a session's keys, against a scripted server.

No server that runs here has such buckets: what is asked is compared with what AWS's pages say, and botocore's resolver
(tests/protocol/test_hosts.py) and signer (tests/protocol/test_express.py) agree.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

import anyio
import pytest

from handtruck._attempt import Options
from handtruck.errors import InvalidResponse, S3Error, UsageError
from handtruck.protocol import operations
from handtruck.protocol.hosts import CustomHosts
from tests.scripted import Reply, Request, client, error, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from handtruck import S3Client

pytestmark = pytest.mark.anyio

BUCKET: Final = "logs--use1-az4--x-s3"
NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
SCOPE: Final = re.compile(r"Credential=([^/]+)/\d{8}/us-east-1/([^/]+)/aws4_request, SignedHeaders=([^,]+)")
GOES_RED: Final = (AssertionError, pytest.fail.Exception, S3Error)


@dataclass
class Zone:
    """A directory bucket that gives out sessions of five minutes, and looks at who signed with what."""

    now: datetime = NOW
    sessions: int = 0
    rejected: set[str] = field(default_factory=set)
    broken: bool = False
    dated: timedelta | None = None
    hang: anyio.Event | None = None
    wrong: list[str] = field(default_factory=list)

    async def __call__(self, request: Request) -> Reply:
        await request.read()
        signed = SCOPE.search(request.header("authorization") or "")
        assert signed is not None
        key_id, service, headers = signed.groups()
        if service != "s3express":
            self.wrong.append(f"signed for {service}")
        if request.target == f"/{BUCKET}/?session":
            if self.hang is not None:
                await self.hang.wait()
            return self._session(key_id, request)
        number = key_id.removeprefix("session-")
        if request.header("x-amz-s3session-token") != f"token-{number}" or "x-amz-s3session-token" not in headers:
            self.wrong.append(f"{request.target}: not a session's token, or not signed")
        if request.header("x-amz-security-token"):
            self.wrong.append("both tokens")
        if key_id in self.rejected:
            return error(400, "ExpiredToken")
        return Reply(headers=(("ETag", '"e"'),), body=b"here")

    def _session(self, key_id: str, request: Request) -> Reply:
        if key_id != "key-id" or request.header("x-amz-s3session-token"):
            self.wrong.append("CreateSession is signed with one's own keys")
        self.sessions += 1
        there = self.now + (self.dated or timedelta())
        ends = "" if self.broken else (there + timedelta(minutes=5)).isoformat()
        said = {
            "AccessKeyId": f"session-{self.sessions}",
            "SecretAccessKey": "s",
            "SessionToken": f"token-{self.sessions}",
        }
        inner = "".join(f"<{name}>{text}</{name}>" for name, text in {**said, "Expiration": ends}.items())
        date = () if self.dated is None else (("Date", format_datetime(there, usegmt=True)),)
        body = f"<CreateSessionResult><Credentials>{inner}</Credentials></CreateSessionResult>".encode()
        return Reply(body=body, headers=date)


@asynccontextmanager
async def zone(**options: object) -> AsyncIterator[tuple[S3Client, Zone]]:
    server = Zone()
    async with serve(server) as peer, client(peer, **options) as s3:
        s3._session.endpoint = replace(s3._session.endpoint, hosts=CustomHosts(origin=peer.url))
        s3._session.clock = lambda: server.now
        yield s3, server
        assert server.wrong == []


async def test_one_session_for_many_requests() -> None:
    """Of which some come at once; for an upload in parts too."""
    async with zone(session_token="my-own") as (s3, server):
        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(s3.get, f"{BUCKET}/{number}")
        assert (await s3.put(f"{BUCKET}/key", b"x")).status_code == 200
        assert (await s3.stat(f"{BUCKET}/key")).etag == '"e"'
        assert server.sessions == 1


async def test_a_session_is_renewed_before_it_ends() -> None:
    async with zone() as (s3, server):
        for minutes, sessions in ((0, 1), (3.9, 1), (4.1, 2), (20, 3)):
            server.now = NOW + timedelta(minutes=minutes)
            assert (await s3.get(f"{BUCKET}/key")).status_code == 200
            assert server.sessions == sessions


@pytest.mark.parametrize("minutes", [-14, -6, 0, 14])
async def test_a_session_lasts_by_the_servers_clock(minutes: int) -> None:
    """S3 minds a clock that is off by more than 15 minutes; a session lasts five, whatever our clock says."""
    async with zone() as (s3, server):
        server.dated = timedelta(minutes=minutes)
        for later, sessions in ((0, 1), (3.9, 1), (4.1, 2)):
            server.now = NOW + timedelta(minutes=later)
            assert (await s3.get(f"{BUCKET}/key")).status_code == 200
            assert server.sessions == sessions


async def test_what_undoes_something_waits_for_no_session() -> None:
    """The session is to be renewed, and that takes for ever: the old one is good; and without one, one is made."""
    async with zone() as (s3, server):
        session = s3._session
        location = session.endpoint.locate(f"{BUCKET}/key")
        abort = operations.abort_multipart_upload(location, "upload-id", ())
        await s3.get(f"{BUCKET}/key")
        server.now += timedelta(minutes=4.5)
        server.hang = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(s3.get, f"{BUCKET}/key")
            await anyio.wait_all_tasks_blocked()
            async with session.places.undoing():
                await session.perform(abort, options=Options(placed=True))
            assert server.sessions == 1
            server.hang.set()
        assert server.sessions == 2


async def test_a_session_takes_no_place_on_the_wire() -> None:
    """All places are taken by those who wait for it: of one that ended in the queue, and of the next bucket's."""
    async with zone(max_connections=1) as (s3, server):
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(s3.get, f"{BUCKET}/{number}")
        session = server.sessions
        await s3._session.places.take()
        async with anyio.create_task_group() as group:
            group.start_soon(s3.get, f"{BUCKET}/key")
            await anyio.wait_all_tasks_blocked()
            server.now += timedelta(minutes=6)
            s3._session.places.give_back()
        assert server.sessions == session + 1


async def test_a_session_that_is_called_expired_is_renewed_once() -> None:
    async with zone() as (s3, server):
        server.rejected = {"session-1"}
        assert (await s3.get(f"{BUCKET}/key")).status_code == 200
        assert server.sessions == 2
        server.rejected = {f"session-{number}" for number in range(9)}
        assert (await s3.get(f"{BUCKET}/key")).status_code == 400
        assert server.sessions == 3


async def test_the_token_does_not_show() -> None:
    async with zone() as (s3, _):
        response = await s3.get(f"{BUCKET}/key")
        assert response.request.headers["x-amz-s3session-token"] == "[secure]"


async def test_what_cannot_be_used() -> None:
    async with zone() as (s3, server):
        server.broken = True
        with pytest.raises(InvalidResponse, match="when they end"):
            await s3.get(f"{BUCKET}/key")
        with pytest.raises(UsageError, match="not presigned"):
            await s3.presign("GET", f"{BUCKET}/key")


async def test_mutation_ones_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    from handtruck.protocol import hosts

    monkeypatch.setattr(hosts, "uses_session", lambda _: False)
    hosts._custom_place.cache_clear()
    with pytest.raises(GOES_RED):
        await test_one_session_for_many_requests()
    hosts._custom_place.cache_clear()
