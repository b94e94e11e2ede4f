"""Calls about one object, against a peer that says what no server at hand says."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from handtruck import Retention, S3Client, SSECustomer
from handtruck.client import subresources as ours
from handtruck.client.objects import ObjectMethods
from handtruck.errors import (
    AccessDenied,
    Conflict,
    ConnectionFailed,
    InvalidResponse,
    NotFound,
    S3Error,
    Throttled,
    UsageError,
)
from handtruck.protocol.documents import objects as documents
from handtruck.protocol.operations import subresources
from tests.conformance.test_objects import in_days
from tests.scripted import RESET, Reply, client, error, serve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.scripted import Request

pytestmark = pytest.mark.anyio

TAGGING: Final = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
OBJECT: Final = (
    ("ETag", '"e"'),
    ("Last-Modified", "Sun, 22 Nov 2026 12:00:00 GMT"),
    ("Accept-Ranges", "bytes"),
)


class Script:
    """Answers in turn; the last one for ever. Keeps what it was asked."""

    def __init__(self, *answers: Reply) -> None:
        self.answers = list(answers)
        self.asked: list[Request] = []

    async def __call__(self, request: Request) -> Reply:
        await request.read()
        self.asked.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def lines(self) -> list[str]:
        return [f"{request.method} {request.target}" for request in self.asked]


async def asked_of(script: Script, ask: Callable[[S3Client], Awaitable[object]], **options: Any) -> object:
    async with serve(script) as peer, client(peer, **options) as s3:
        return await ask(s3)


# --- stat and exists


async def test_what_stat_sends() -> None:
    script = Script(Reply(headers=(("ETag", '"e"'), ("Content-Length", "7"))))
    info = await asked_of(
        script,
        lambda s3: s3.stat(
            "b/k y", version_id="v", headers={"x-own": "1"}, expected_bucket_owner="1", sse=SSECustomer(b"k" * 32)
        ),
    )
    assert (getattr(info, "size", None), script.lines) == (7, ["HEAD /b/k%20y?versionId=v"])
    (request,) = script.asked
    assert request.header("x-amz-checksum-mode") == "ENABLED"
    assert (request.header("x-own"), request.header("x-amz-expected-bucket-owner")) == ("1", "1")
    assert request.header("x-amz-server-side-encryption-customer-key")
    script = Script(Reply())
    await asked_of(script, lambda s3: s3.stat("b/k", checksums=False))
    await asked_of(script, lambda s3: s3.stat("b/k", headers={"X-Amz-Checksum-Mode": "ENABLED"}))
    assert [request.header("x-amz-checksum-mode") for request in script.asked] == [None, "ENABLED"]


@pytest.mark.parametrize(
    ("status", "kind", "hint"),
    [
        (301, S3Error, "another region"),
        (400, S3Error, "wrong region="),
        (403, AccessDenied, "who may not list the bucket"),
        (404, NotFound, "HEAD does not say which"),
        (405, S3Error, "delete marker"),
    ],
)
async def test_an_error_says_what_it_may_mean(status: int, kind: type[S3Error], hint: str) -> None:
    with pytest.raises(kind, match=hint) as caught:
        await asked_of(Script(Reply(status=status)), lambda s3: s3.stat("b/k"))
    assert (caught.value.status, caught.value.code, caught.value.attempts) == (status, None, 1)


@pytest.mark.parametrize("status", [400, 403, 405, 301])
async def test_only_a_404_is_no(status: int) -> None:
    with pytest.raises(S3Error):
        await asked_of(Script(Reply(status=status)), lambda s3: s3.exists("b/k"))


@pytest.mark.parametrize("status", [200, 403, 400, 405])
async def test_where_the_bucket_cannot_be_asked_for_the_object_is_missing(status: int) -> None:
    script = Script(Reply(status=404), Reply(status=status))
    answer = await asked_of(script, lambda s3: s3.exists("b/k", expected_bucket_owner="1", if_match="e"))
    assert (answer, script.lines) == (False, ["HEAD /b/k", "HEAD /b/"])
    assert [request.header("x-amz-expected-bucket-owner") for request in script.asked] == ["1", "1"]
    assert [request.header("if-match") for request in script.asked] == ["e", None]


async def test_what_is_not_known_is_not_no() -> None:
    with pytest.raises(Throttled):
        await asked_of(Script(Reply(status=404), Reply(status=429)), lambda s3: s3.exists("b/k"), max_attempts=1)
    with pytest.raises(S3Error):
        await asked_of(Script(Reply(status=404), Reply(status=503)), lambda s3: s3.exists("b/k"), max_attempts=1)
    with pytest.raises(ConnectionFailed):
        await asked_of(Script(Reply(status=404), RESET), lambda s3: s3.exists("b/k"), max_attempts=1)


async def test_without_the_second_question_a_missing_bucket_would_be_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: False for a bucket that is not there."""
    ask = partial(asked_of, ask=lambda s3: s3.exists("b/k"))
    with pytest.raises(NotFound, match="no such bucket"):
        await ask(Script(Reply(status=404)))

    async def unasked(*_: object) -> None: ...

    monkeypatch.setattr(ObjectMethods, "_check_bucket", unasked)
    assert await ask(Script(Reply(status=404))) is False


async def test_a_key_does_not_travel_in_the_clear() -> None:
    async with S3Client("http://example.com", access_key_id="a", secret_access_key="b") as s3:
        for asking in (s3.stat, s3.exists, s3.get_object_attributes):
            with pytest.raises(UsageError, match="in the clear"):
                await asking("b/k", sse=SSECustomer(b"k" * 32))


# --- what is an object, and what belongs to it


async def test_an_object_that_comes_instead_is_not_read() -> None:
    """Its body never ends here: whoever waited for it would wait for ever."""
    for get in ("get_object_tags", "get_object_acl", "get_object_attributes", "get_object_retention"):
        endless = Reply(headers=(*OBJECT, ("Content-Length", str(1 << 40))), body=b"abc", then="silence")
        script = Script(endless)
        with pytest.raises(InvalidResponse, match="this server does not know"):
            await asked_of(script, lambda s3, get=get: getattr(s3, get)("b/k"))  # type: ignore[misc]
        assert len(script.asked) == 1


async def test_what_was_not_read_is_in_nobodys_way() -> None:
    """The connection is closed, its place is free, and the next request goes well."""
    endless = Reply(headers=(*OBJECT, ("Content-Length", str(1 << 40))), body=b"abc", then="silence")
    script = Script(endless, endless, Reply(body=TAGGING))
    async with serve(script) as peer, client(peer, max_connections=1) as s3:
        for _ in range(2):
            with pytest.raises(InvalidResponse):
                await s3.get_object_tags("b/k")
        assert await s3.get_object_tags("b/k") == {"a": "b"}
    assert [request.connection for request in script.asked] == [1, 2, 3]


async def test_an_object_that_looks_like_its_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its ETag and its ranges; without that look it would be believed."""
    script = Script(Reply(headers=OBJECT, body=TAGGING))
    with pytest.raises(InvalidResponse, match=r"does not know \?tagging"):
        await asked_of(script, lambda s3: s3.get_object_tags("b/k"))
    monkeypatch.setattr(ours, "is_an_object", lambda _: False)
    assert await asked_of(script, lambda s3: s3.get_object_tags("b/k")) == {"a": "b"}


async def test_half_a_document_is_asked_for_again() -> None:
    script = Script(Reply(body=TAGGING[:-3]), error(503, "SlowDown"), Reply(body=TAGGING))
    assert await asked_of(script, lambda s3: s3.get_object_tags("b/k")) == {"a": "b"}
    assert len(script.asked) == 3
    with pytest.raises(InvalidResponse, match=r"GetObjectTagging b/k: .*no complete XML") as caught:
        await asked_of(Script(Reply(body=TAGGING[:-3])), lambda s3: s3.get_object_tags("b/k"), max_attempts=2)
    assert caught.value.attempts == 2


async def test_without_that_look_half_a_document_would_be_no_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: what may have become one is taken for an object."""
    monkeypatch.setattr(documents, "is_document", lambda *_: False)
    script = Script(Reply(body=TAGGING[:-3]), Reply(body=TAGGING))
    with pytest.raises(InvalidResponse, match="does not know"):
        await asked_of(script, lambda s3: s3.get_object_tags("b/k"))
    assert len(script.asked) == 1


async def test_a_bucket_is_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without that look its own tags would be replaced."""
    script = Script(Reply(body=TAGGING))
    for name in ("b", "b/", "/b"):
        with pytest.raises(UsageError, match="names no object"):
            await asked_of(script, lambda s3, name=name: s3.put_object_tags(name, {"a": "b"}))  # type: ignore[misc]
    assert script.lines == []
    monkeypatch.setattr(ours.SubresourceFamily, "_locate_object", ours.SubresourceFamily._locate)
    await asked_of(script, lambda s3: s3.put_object_tags("b", {"a": "b"}))
    assert script.lines == ["GET /b?tagging", "PUT /b?tagging"]


async def test_an_error_says_what_it_is_about() -> None:
    with pytest.raises(AccessDenied) as caught:
        await asked_of(Script(error(403, "AccessDenied")), lambda s3: s3.get_object_tags("b/k"))
    known = caught.value
    assert (known.operation, known.bucket, known.key, known.code) == ("GetObjectTagging", "b", "k", "AccessDenied")


CHANGES: Final[tuple[tuple[str, tuple[Any, ...], list[str]], ...]] = (
    ("put_object_tags", ({"a": "b"},), ["GET /b/k?tagging", "PUT /b/k?tagging"]),
    ("delete_object_tags", (), ["GET /b/k?tagging", "DELETE /b/k?tagging"]),
    ("put_object_acl", ("private",), ["GET /b/k?acl", "PUT /b/k?acl"]),
    ("put_object_legal_hold", (True,), ["GET /b/k?legal-hold", "PUT /b/k?legal-hold"]),
    (
        "put_object_retention",
        (Retention(mode="GOVERNANCE", until=in_days(1)),),
        ["GET /b/k?legal-hold", "PUT /b/k?retention"],
    ),
)


@pytest.mark.parametrize(("method", "arguments", "lines"), CHANGES, ids=[method for method, _, _ in CHANGES])
async def test_a_server_is_looked_at_before_anything_is_changed(
    method: str, arguments: tuple[Any, ...], lines: list[str]
) -> None:
    """Who may not read is believed; AWS is known."""
    script = Script(error(403, "AccessDenied"), Reply())
    async with serve(script) as peer, client(peer) as s3:
        await getattr(s3, method)("b/k", *arguments)
        assert script.lines == lines
        script.asked.clear()
        s3._session.endpoint = replace(s3._session.endpoint, aws=True)
        await getattr(s3, method)("b/k", *arguments, version_id="v", request_payer=True)
    assert script.lines == [f"{lines[1]}&versionId=v"]
    assert script.asked[0].header("x-amz-request-payer") == "requester"


async def test_nothing_is_changed_where_the_look_fails() -> None:
    for answer in (error(404, "NoSuchKey"), error(405, "MethodNotAllowed"), error(501, "NotImplemented"), RESET):
        script = Script(answer)
        with pytest.raises((S3Error, ConnectionFailed)):
            await asked_of(script, lambda s3: s3.delete_object_tags("b/k"), max_attempts=1)
        assert script.lines == ["GET /b/k?tagging"]


@pytest.mark.parametrize("code", ["NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"])
async def test_locks_that_are_not_there(code: str) -> None:
    script = Script(error(404, code))
    assert await asked_of(script, lambda s3: s3.get_object_legal_hold("b/k")) is False
    assert await asked_of(script, lambda s3: s3.get_object_retention("b/k")) is None
    with pytest.raises(NotFound):
        await asked_of(Script(error(404, "NoSuchKey")), lambda s3: s3.get_object_legal_hold("b/k"))


async def test_governance_is_bypassed_where_that_is_asked_for() -> None:
    script = Script(Reply(body=b"<LegalHold/>"), Reply())
    await asked_of(script, lambda s3: s3.put_object_retention("b/k", None, bypass_governance=True))
    assert [each.header("x-amz-bypass-governance-retention") for each in script.asked] == [None, "true"]


# --- the archive


async def test_an_order_from_the_archive_is_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own first attempt would be in the way of the second; without that fact it would be, and say Conflict."""
    script = Script(RESET, error(409, "RestoreAlreadyInProgress"))
    with pytest.raises(ConnectionFailed):
        await asked_of(script, lambda s3: s3.restore("b/k", days=1))
    assert script.lines == ["POST /b/k?restore"]

    restore = subresources.restore_object
    monkeypatch.setattr(subresources, "restore_object", lambda *given: replace(restore(*given), idempotent=True))
    script = Script(RESET, error(409, "RestoreAlreadyInProgress"))
    with pytest.raises(Conflict):
        await asked_of(script, lambda s3: s3.restore("b/k", days=1))


async def test_what_cannot_be_expedited_is_not_asked_for_again() -> None:
    script = Script(error(503, "GlacierExpeditedRetrievalNotAvailable"))
    with pytest.raises(S3Error):
        await asked_of(script, lambda s3: s3.restore("b/k", days=1, tier="Expedited"))
    assert len(script.asked) == 1
    script = Script(error(503, "SlowDown"), Reply(status=202))
    assert await asked_of(script, lambda s3: s3.restore("b/k", days=1)) is True
    assert len(script.asked) == 2
