"""What a request is signed with: keys that last until it goes out, and newer ones when, and only when, they help."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from handtruck.credentials.refreshing import RefreshingCredentials
from handtruck.errors import NotFound, S3Error, UsageError
from handtruck.models import Credentials
from tests.scripted import Reply, Request, client, error, serve, store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from handtruck import S3Client
    from tests.scripted import Peer

pytestmark = pytest.mark.anyio

NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
GOES_RED: Final = (AssertionError, pytest.fail.Exception, S3Error)


class Clock:
    """Stands still unless it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Source(RefreshingCredentials):
    """Gives the keys ``token-1``, ``token-2`` …, each for a while."""

    def __init__(self, clock: Clock, lasts: timedelta = timedelta(hours=1)) -> None:
        super().__init__(clock=clock)
        self.lasts = lasts
        self.given = 0
        self.empty = False
        self.gate: anyio.Event | None = None

    async def _fetch(self, known: Credentials | None) -> Credentials:
        if self.empty:
            raise UsageError("log in first")
        if self.gate is not None:
            await self.gate.wait()
        self.given += 1
        ends = self._clock() + self.lasts
        return Credentials(
            access_key_id="key-id", secret_access_key="s", session_token=f"token-{self.given}", expires_at=ends
        )


def token_of(request: Request) -> int:
    return int((request.header("x-amz-security-token") or "").removeprefix("token-"))


@asynccontextmanager
async def timed(handler: Any, **options: Any) -> AsyncIterator[tuple[S3Client, Peer, Source, Clock]]:
    clock = Clock()
    source = Source(clock)
    async with serve(handler) as peer, client(peer, credentials=source, **options) as s3:
        s3._session.clock = clock
        yield s3, peer, source, clock


async def test_keys_that_end_in_the_queue_are_fetched_anew() -> None:
    """Each request takes a while, and the keys last for two of them: nobody is sent out with keys that have ended."""

    async def handler(request: Request) -> Reply:
        if token_of(request) != source.given:
            return error(400, "ExpiredToken")
        clock.now += timedelta(minutes=31)
        return Reply(body=b"here")

    async with timed(handler, max_connections=1) as (s3, peer, source, clock):
        async with anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(s3.get, f"bucket/{number}")
        assert len(peer.requests) == 12
        assert source.given == 6


async def test_a_head_that_says_400_is_asked_about_once() -> None:
    """It may mean that the keys have ended; as newer ones get the same, it does not."""

    async def handler(request: Request) -> Reply:
        return Reply(status=400 if request.target.endswith("sealed") else 200, headers=(("ETag", '"e"'),))

    async with timed(handler) as (s3, peer, source, _):
        for _ in range(5):
            with pytest.raises(S3Error, match="400"):
                await s3.stat("bucket/sealed")
        assert source.given == 2
        assert len(peer.requests) == 6


async def test_a_head_that_says_400_where_there_are_no_newer_keys() -> None:
    """S3's answer is what comes out, not that of whoever has no newer keys; and he is asked once."""

    async def handler(request: Request) -> Reply:
        return Reply(status=400 if request.target.endswith("sealed") else 200, headers=(("ETag", '"e"'),))

    async with timed(handler) as (s3, _, source, _):
        assert (await s3.stat("bucket/key")).etag == '"e"'
        source.empty = True
        for _ in range(2):
            with pytest.raises(S3Error, match="400"):
                await s3.stat("bucket/sealed")
        assert (await s3.stat("bucket/key")).etag == '"e"'
        source.empty = False
        with pytest.raises(S3Error, match="400"):
            await s3.stat("bucket/sealed")
        assert source.given == 1


async def test_keys_that_have_ended_by_a_heads_400() -> None:
    """Newer ones help: then that was it, and it may be it again."""

    async def handler(request: Request) -> Reply:
        return Reply(status=200 if token_of(request) == wanted else 400, headers=(("ETag", '"e"'),))

    async with timed(handler) as (s3, _, source, _):
        for wanted in (1, 2, 3):
            assert (await s3.stat("bucket/key")).etag == '"e"'
            assert source.given == wanted


async def test_keys_that_cannot_be_had_are_the_sources_error() -> None:
    """S3 said in words that they have expired: then it is the source that has something to say."""

    async def handler(_: Request) -> Reply:
        return error(400, "ExpiredToken")

    async with timed(handler) as (s3, _, source, _):
        assert (await s3.get("bucket/key")).status_code == 400
        source.empty = True
        with pytest.raises(UsageError, match="log in first"):
            await s3.get("bucket/key")


async def test_corrections_leave_all_attempts() -> None:
    """Of two, one was refused for its keys: a 503 after that is one attempt, and there is a second."""
    script = [error(400, "ExpiredToken"), error(503, "SlowDown"), Reply(body=b"here")]

    async def handler(_: Request) -> Reply:
        return script[len(peer.requests) - 1]

    async with timed(handler, max_attempts=2) as (s3, peer, _, _):
        assert (await s3.get("bucket/key")).content == b"here"


async def check_abort_waits_for_no_keys() -> None:
    clock, started, never = Clock(), anyio.Event(), anyio.Event()
    source = Source(clock)

    async def hang(_: Request) -> Reply:
        started.set()
        await never.wait()
        return Reply()

    async with store(credentials=source) as (s3, tiny):
        s3._session.clock = clock
        tiny.on("UploadPart", hang)
        async with anyio.create_task_group() as group:
            group.start_soon(s3.upload, "bucket/key", bytes(9 << 20))
            await started.wait()
            clock.now += timedelta(minutes=50)  # newer ones are wanted, and these are good
            source.gate = never
            group.cancel_scope.cancel()
        never.set()
        assert "AbortMultipartUpload" in tiny.names
        assert tiny.uploads == {}
        assert source.given == 1


async def test_an_abort_waits_for_no_newer_keys() -> None:
    """Whoever gives them may take longer than an abort has; the old ones are good."""
    await check_abort_waits_for_no_keys()


async def test_mutation_an_abort_renews_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    from handtruck import _session
    from handtruck.transfer import multipart

    monkeypatch.setattr(_session.Session, "_lasts", lambda *_: False)
    monkeypatch.setattr(multipart, "GRACE", 0.1)
    with pytest.raises(GOES_RED):
        await check_abort_waits_for_no_keys()


async def test_a_refusal_that_comes_after_the_cancellation_leaves_no_note() -> None:
    """Create said no: there is no upload that might remain, though nobody waits for the answer any more."""
    asked, cancelled = anyio.Event(), anyio.Event()

    async def handler(request: Request) -> Reply:
        await request.read()
        asked.set()
        await cancelled.wait()
        return error(403, "AccessDenied")

    notes: list[str] = []
    async with timed(handler) as (s3, _, _, _):

        async def upload() -> None:
            try:
                await s3.upload("bucket/key", bytes(9 << 20))
            except BaseException as ended:
                notes.extend(getattr(ended, "__notes__", ()))
                raise

        async with anyio.create_task_group() as group:
            group.start_soon(upload)
            await asked.wait()
            group.cancel_scope.cancel()
            cancelled.set()
    assert not [note for note in notes if "may remain" in note]
    assert any("AccessDenied" in note for note in notes)


async def test_a_complete_that_was_refused_for_its_keys_was_not_lost() -> None:
    """The upload is gone, and an older object has the same bytes: it is no proof that ours was written."""
    data, asked = bytes(9 << 20), 0

    def refuse(_: Request) -> Reply:
        nonlocal asked
        asked += 1
        return error(400, "ExpiredToken") if asked == 1 else error(404, "NoSuchUpload")

    async with store() as (s3, tiny):
        await s3.upload("bucket/key", data, metadata={"v": "1"})
        tiny.on("CompleteMultipartUpload", refuse)
        with pytest.raises(NotFound, match="NoSuchUpload"):
            await s3.upload("bucket/key", data, metadata={"v": "2"})
        assert asked == 2
