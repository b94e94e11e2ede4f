"""Secrets show nowhere: not in logs, reprs, exceptions, nor in a traceback that is printed with its locals.

Every public call is made with marked keys and made to fail in several ways: by servers that repeat the request, as S3
does where a signature is wrong; by connections that break; by answers that make no sense; by silence.
"""

from __future__ import annotations

import logging
import pickle
from base64 import b64encode
from contextlib import asynccontextmanager
from copy import copy, deepcopy
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

import handtruck
from handtruck import SSES3, S3Client, SSECustomer
from handtruck.errors import HandtruckError
from handtruck.models import Credentials
from tests.leaks import leaks
from tests.scripted import RESET, SILENCE, Reply, Request, quick, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

SECRET: Final = "marked/secret+key"
TOKEN: Final = "marked-session-token=="
CUSTOMER: Final = SSECustomer(b"marked customer key, 32 bytes ok")
MARKERS: Final = ("marked", b64encode(CUSTOMER.key).decode())
GOES_RED: Final = (AssertionError, pytest.fail.Exception)
BODY: Final = b"x" * 1000


async def _first(pages: Any) -> object:
    return await anext(aiter(pages), None)


async def _entered(manager: Any) -> None:
    async with manager as entered:
        if hasattr(entered, "write"):
            await entered.write(BODY)
        elif hasattr(entered, "read"):
            await entered.read()


async def _parallel(listing: Any) -> None:
    async with listing as objects:
        await _first(objects)


async def _group(s3: S3Client) -> None:
    async with s3.transfers() as group:
        group.upload("b/k", BODY, sse=CUSTOMER)


def calls(s3: S3Client, file: Path) -> dict[str, Callable[[], Awaitable[object]]]:
    """Every public call; with a key of the caller's own, where there is such an option."""
    mine: dict[str, Any] = {"sse": CUSTOMER}
    target = file.with_name("target")
    of_bucket: dict[str, Callable[[], Awaitable[object]]] = {
        name: partial(getattr(s3, name), "b")
        for name in dir(S3Client)
        if name.startswith(("get_bucket_", "delete_bucket_")) and not name.endswith("_configuration")
    }
    return of_bucket | {
        "abort_multipart_upload": partial(s3.abort_multipart_upload, "b/k", "id"),
        "abort_stale_uploads": partial(s3.abort_stale_uploads, "b", older_than=timedelta(days=1)),
        "bucket_exists": partial(s3.bucket_exists, "b"),
        "copy": partial(s3.copy, "b/k", "b/l", source_sse=CUSTOMER, **mine),
        "create_bucket": partial(s3.create_bucket, "b"),
        "delete": partial(s3.delete, "b/k"),
        "delete_bucket": partial(s3.delete_bucket, "b"),
        "delete_bucket_configuration": partial(s3.delete_bucket_configuration, "cors", "b"),
        "delete_object_tags": partial(s3.delete_object_tags, "b/k"),
        "delete_objects": partial(s3.delete_objects, ["k", "l"], "b"),
        "delete_prefix": partial(s3.delete_prefix, "b", prefix="p"),
        "delete_public_access_block": partial(s3.delete_public_access_block, "b"),
        "download": partial(s3.download, "b/k", target, **mine),
        "exists": partial(s3.exists, "b/k", **mine),
        "get": partial(s3.get, "b/k", **mine),
        "get_bucket_configuration": partial(s3.get_bucket_configuration, "cors", "b"),
        "get_file_parallel": partial(s3.get_file_parallel, "b/k", target, **mine),
        "get_object_acl": partial(s3.get_object_acl, "b/k"),
        "get_object_attributes": partial(s3.get_object_attributes, "b/k", **mine),
        "get_object_legal_hold": partial(s3.get_object_legal_hold, "b/k"),
        "get_object_lock_configuration": partial(s3.get_object_lock_configuration, "b"),
        "get_object_retention": partial(s3.get_object_retention, "b/k"),
        "get_object_tags": partial(s3.get_object_tags, "b/k"),
        "get_public_access_block": partial(s3.get_public_access_block, "b"),
        "get_ranges": partial(s3.get_ranges, "b/k", [(0, 9)], **mine),
        "head": partial(s3.head, "b/k"),
        "head_bucket": partial(s3.head_bucket, "b"),
        "iter_object_versions": lambda: _first(s3.iter_object_versions("b")),
        "iter_objects": lambda: _first(s3.iter_objects("b")),
        "list_buckets": lambda: _first(s3.list_buckets()),
        "list_multipart_uploads": lambda: _first(s3.list_multipart_uploads("b")),
        "list_object_versions": lambda: _first(s3.list_object_versions("b")),
        "list_objects_parallel": lambda: _parallel(s3.list_objects_parallel("b")),
        "list_objects_v2": lambda: _first(s3.list_objects_v2("b")),
        "list_parts": lambda: _first(s3.list_parts("b/k", "id")),
        "move": partial(s3.move, "b/k", "b/l", source_sse=CUSTOMER, **mine),
        "open": lambda: _entered(s3.open("b/k", "rb", **mine)),
        "open, to write": lambda: _entered(s3.open("b/k", "wb", **mine)),
        "post": partial(s3.post, "b/k", b"x", params={"restore": None}),
        "presign": partial(s3.presign, "GET", "b/k", headers={"Host": "x"}),
        "presign_post": partial(s3.presign_post, "b/k", fields={"key": "x"}),
        "put": partial(s3.put, "b/k", BODY, **mine),
        "put_bucket_acl": partial(s3.put_bucket_acl, "private", bucket="b"),
        "put_bucket_configuration": partial(s3.put_bucket_configuration, "cors", {"CORSRule": []}, bucket="b"),
        "put_bucket_cors": partial(s3.put_bucket_cors, {"CORSRules": []}, bucket="b"),
        "put_bucket_encryption": partial(s3.put_bucket_encryption, SSES3(), bucket="b"),
        "put_bucket_lifecycle": partial(s3.put_bucket_lifecycle, {"Rules": []}, bucket="b"),
        "put_bucket_ownership": partial(s3.put_bucket_ownership, "BucketOwnerEnforced", bucket="b"),
        "put_bucket_policy": partial(s3.put_bucket_policy, {"Statement": []}, bucket="b"),
        "put_bucket_tags": partial(s3.put_bucket_tags, {"a": "b"}, bucket="b"),
        "put_bucket_versioning": partial(s3.put_bucket_versioning, "Enabled", bucket="b"),
        "put_file": partial(s3.put_file, "b/k", file, **mine),
        "put_file_multipart": partial(s3.put_file_multipart, "b/k", file, **mine),
        "put_multipart": partial(s3.put_multipart, "b/k", [BODY] * 3, **mine),
        "put_object_acl": partial(s3.put_object_acl, "b/k", "private"),
        "put_object_legal_hold": partial(s3.put_object_legal_hold, "b/k", held=True),
        "put_object_lock_configuration": partial(s3.put_object_lock_configuration, {}, bucket="b"),
        "put_object_retention": partial(s3.put_object_retention, "b/k", None),
        "put_object_tags": partial(s3.put_object_tags, "b/k", {"a": "b"}),
        "put_public_access_block": partial(s3.put_public_access_block, handtruck.PublicAccessBlock(), bucket="b"),
        "request": partial(s3.request, "GET", "b/k", raise_for_status=True),
        "restore": partial(s3.restore, "b/k", days=1),
        "stat": partial(s3.stat, "b/k", **mine),
        "stream": lambda: _entered(s3.stream("b/k", **mine)),
        "transfers": lambda: _group(s3),
        "upload": partial(s3.upload, "b/k", file, **mine),
        "walk": lambda: _first(s3.walk("b")),
    }


async def repeating(request: Request) -> Reply:
    """What S3 says to a signature that it finds wrong: all that was signed, the token and keys in it."""
    await request.read()
    signed = "".join(f"{name}:{value}\n" for name, value in request.headers)
    document = (
        f"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message><CanonicalRequest>{signed}</CanonicalRequest>"
    )
    return Reply(status=403, body=document.encode() + b"<RequestId>R-1</RequestId></Error>")


async def nonsense(request: Request) -> Reply:
    """A yes that is none of S3's documents."""
    await request.read()
    return Reply(body=b"<What>", headers=(("Content-Type", "application/xml"),))


async def broken(request: Request) -> Reply:
    """The connection breaks."""
    await request.read()
    return RESET


async def silent(request: Request) -> Reply:
    """No answer, for longer than anybody waits."""
    await request.read()
    return SILENCE


async def garbled(request: Request) -> Reply:
    """Something else than HTTP."""
    await request.read()
    return Reply(raw=b"?\r\n\r\n", then="close")


@asynccontextmanager
async def clients(url: str, road: str) -> AsyncIterator[S3Client]:
    keys: dict[str, Any] = {"access_key_id": "key-id", "secret_access_key": SECRET, "session_token": TOKEN}
    options: dict[str, Any] = {**keys, "max_attempts": 1}
    if road == "own":
        async with S3Client(url, **options) as s3:
            yield quick(s3)
    else:
        async with httpx.AsyncClient(timeout=0.2) as client, S3Client(url, client, **options) as s3:
            yield quick(s3)


async def check_nothing_shows(
    server: Callable[[Request], Awaitable[Reply]],
    road: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    *only: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "file"
    file.write_bytes(BODY)
    failed: list[HandtruckError | OSError] = []
    async with serve(server) as peer, clients(peer.url, road) as s3:
        for name, call in calls(s3, file).items():
            if only and name not in only:
                continue
            try:
                await call()
            except (HandtruckError, OSError) as error:
                failed.append(error)
        shown = (repr(s3), repr(s3._session), repr(s3._session.credentials), caplog.text)
    assert len(failed) > (0 if only else 40)
    assert [where for error in failed for where in leaks(error, MARKERS)] == []
    assert not [text for text in shown if any(marker in text for marker in MARKERS)]


def test_every_public_call_is_made(tmp_path: Path) -> None:
    public = {name for name in dir(S3Client) if not name.startswith("_")} - {"aclose", "url"}
    made = {name.partition(",")[0] for name in calls(S3Client("http://host"), tmp_path / "file")}
    assert made == public


@pytest.mark.parametrize("road", ["own", "httpx"])
@pytest.mark.parametrize("server", [repeating, nonsense, broken, garbled], ids=lambda each: each.__name__)
async def test_nothing_shows(
    server: Callable[[Request], Awaitable[Reply]], road: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await check_nothing_shows(server, road, tmp_path, caplog)


@pytest.mark.parametrize("road", ["own", "httpx"])
async def test_nothing_shows_of_a_request_that_is_waited_for(
    road: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Timeouts come through other frames."""
    caplog.set_level(logging.DEBUG)
    async with serve(silent) as peer, clients(peer.url, road) as s3:
        for call in (
            partial(s3.get, "b/k", sse=CUSTOMER, timeout=0.05),
            partial(s3.put, "b/k", BODY, sse=CUSTOMER, timeout=0.05),
            partial(s3.download, "b/k", tmp_path / "target", sse=CUSTOMER, timeout=0.05),
        ):
            with pytest.raises(handtruck.errors.TransferTimeout) as caught:
                await call()
            assert leaks(caught.value, MARKERS) == []
    assert not any(marker in caplog.text for marker in MARKERS)


CARELESS: Final = """
async def handle(request):
    head = list(request.headers.raw)
    raise httpx.WriteError(f"broken after {len(head)} headers")
"""


async def check_frames_of_others() -> None:
    """What a caller's transport keeps in its frames is forgotten; what the caller had before is left alone."""
    names: dict[str, Any] = {"httpx": httpx}
    exec(compile(CARELESS, "careless.py", "exec"), names)  # noqa: S102 - a file that is no test's
    transport = httpx.AsyncBaseTransport()
    transport.handle_async_request = names["handle"]  # type: ignore[method-assign]
    options: dict[str, Any] = {"access_key_id": "id", "secret_access_key": SECRET, "session_token": TOKEN}
    async with httpx.AsyncClient(transport=transport) as client:
        s3 = S3Client("http://host", client, max_attempts=1, **options)
        try:
            _fail_before()
        except ZeroDivisionError as before:
            with pytest.raises(handtruck.errors.ConnectionFailed) as caught:
                await s3.get("b/k")
            trace = before.__traceback__
            assert trace is not None
            assert trace.tb_next is not None
            assert trace.tb_next.tb_frame.f_locals["nothing"] == 0
            assert leaks(caught.value, MARKERS) == []


def _fail_before() -> None:
    nothing = 0
    raise ZeroDivisionError(nothing)


async def test_frames_of_others() -> None:
    await check_frames_of_others()


async def test_answers_show_no_secret_of_their_request() -> None:
    """The request that an answer carries has what was sent, but for the keys."""

    async def handler(request: Request) -> Reply:
        await request.read()
        return Reply(headers=(("ETag", '"e"'),))

    for road in ("own", "httpx"):
        async with serve(handler) as peer, clients(peer.url, road) as s3:
            response = await s3.put("b/k", BODY, sse=CUSTOMER)
            assert response.request.headers["x-amz-security-token"] == "[secure]"
            assert not any(marker in repr(response.request.headers) for marker in MARKERS)


def test_credentials_show_no_secret_and_stay_here() -> None:
    keys = Credentials(access_key_id="id", secret_access_key=SECRET, session_token=TOKEN)
    assert "marked" not in repr(keys)
    assert "marked" not in repr({"secret": keys.secret_access_key, "token": keys.session_token})
    assert keys.secret_access_key == SECRET
    assert keys.secret_access_key.encode() == SECRET.encode()
    assert copy(keys) is keys
    assert deepcopy([keys]) == [keys]
    with pytest.raises(TypeError, match="pickle the source"):
        pickle.dumps(keys)


# Each of these must be seen


async def test_mutation_secrets_show(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("handtruck.models.identity.Secret.__repr__", str.__repr__)
    with pytest.raises(GOES_RED):
        await check_nothing_shows(repeating, "own", tmp_path, caplog, "put")


async def test_mutation_frames_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.transport.senders.forget_frames", lambda *_: None)
    with pytest.raises(GOES_RED):
        await check_frames_of_others()


async def test_mutation_answers_show(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("handtruck.protocol.answers.Answer.__repr__", lambda self: repr(self.body))
    with pytest.raises(GOES_RED):
        await check_nothing_shows(repeating, "own", tmp_path, caplog, "put")
