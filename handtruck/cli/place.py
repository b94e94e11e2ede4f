"""A place on a server where the demo works, and where nothing remains of it."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from ..client import S3Client
from ..errors import HandtruckError, S3Error
from ..protocol.address import parse_endpoint
from ..protocol.documents import parse_error

if TYPE_CHECKING:
    from collections.abc import Generator

    import httpx

    from ..models import AwsObjectMeta, MultipartUploadInfo
    from .interrupts import Interrupts

__all__ = ("Place", "Server", "borrowed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An endpoint, and the keys for it where they are not to be looked for.

    Attributes:
        temporary: it goes, and everything on it, when the demo is over.
    """

    url: str
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    temporary: bool = False

    def client(self) -> S3Client:
        """A new client."""
        return S3Client(self.url, access_key_id=self.access_key_id, secret_access_key=self.secret_access_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A bucket of our own, or a corner of somebody's.

    Attributes:
        root: what stands before every key in an object's name: ``bucket/``, or nothing where the URL has the bucket.
        prefix: what all our keys begin with; empty in a bucket of our own.
        own: the bucket that we make and remove, or None.
    """

    root: str
    prefix: str
    own: str | None

    def name(self, key: str) -> str:
        """The name of an object of ours."""
        return f"{self.root}{self.prefix}{key}"

    async def objects(self, s3: S3Client) -> list[AwsObjectMeta]:
        """All that is here."""
        return [found async for page in s3.list_objects_v2(self.root or "/", prefix=self.prefix) for found in page]

    async def uploads(self, s3: S3Client) -> list[MultipartUploadInfo]:
        """The unfinished uploads here."""
        return [found async for found in s3.list_multipart_uploads(self.root or "/", prefix=self.prefix)]

    async def make(self, s3: S3Client) -> None:
        """Make the bucket if it is to be one of our own, else see that it is there."""
        if self.own is None:
            await self.objects(s3)
        else:
            expect(await s3.put(self.root, b""), f"cannot make the bucket {self.own} (use --bucket for one you have)")

    async def clear(self, s3: S3Client) -> None:
        """Remove everything that is here, and the bucket if it is ours."""
        for upload in await self.uploads(s3):
            await s3.abort_multipart_upload(f"{self.root}{upload.key}", upload.upload_id)
        for found in await self.objects(s3):
            await self._remove(s3, found.key)
        if self.own is not None:
            expect(await s3.delete(self.root), f"cannot remove the bucket {self.own}")

    async def _remove(self, s3: S3Client, key: str) -> None:
        """Remove an object; where the bucket keeps versions, that version, of which there is but one."""
        head = await s3.head(f"{self.root}{key}")
        version = head.headers.get("x-amz-version-id")
        params = {"versionId": version} if version else None
        expect(await s3.delete(f"{self.root}{key}", params=params), f"cannot remove {key}")


def choose(url: str, bucket: str | None) -> Place:
    """A fresh bucket, unless one is named by the URL or given.

    Raises:
        UsageError: the URL is unusable, or names another bucket.
    """
    fresh = f"handtruck-demo-{secrets.token_hex(6)}"
    if parse_endpoint(url).fixed:
        parse_endpoint(url, bucket=bucket)
        return Place(root="", prefix=f"{fresh}/", own=None)
    if bucket:
        return Place(root=f"{bucket}/", prefix=f"{fresh}/", own=None)
    return Place(root=f"{fresh}/", prefix="", own=fresh)


@contextmanager
def borrowed(server: Server, bucket: str | None, interrupts: Interrupts) -> Generator[Place]:
    """A place on the server, cleared in the end whatever happens. To be called around the event loop.

    Raises:
        HandtruckError: the place cannot be made, or not be cleared.
        KeyboardInterrupt: while it was made or cleared.
    """
    place = choose(server.url, bucket)

    def clear(_: object, error: BaseException | None, __: object) -> None:
        try:
            interrupts.run(partial(_clear, server, place), cleaning=True)
        except (HandtruckError, KeyboardInterrupt) as failed:
            left = f"what the demo made in {place.root}{place.prefix} may remain"
            if error is None:
                failed.add_note(left)
                raise
            error.add_note(f"{left}: {failed}" if f"{failed}" else left)

    with ExitStack() as stack:
        if not server.temporary:
            stack.push(clear)
        try:
            interrupts.run(partial(_make, server, place))
        except HandtruckError:
            stack.pop_all()  # refused, so nothing is there; a bucket of that name would be somebody else's
            raise
        yield place


async def _make(server: Server, place: Place) -> None:
    async with server.client() as s3:
        await place.make(s3)


async def _clear(server: Server, place: Place) -> None:
    async with server.client() as s3:
        await place.clear(s3)


def expect(response: httpx.Response, otherwise: str) -> httpx.Response:
    """The answer, if it is a success.

    Raises:
        S3Error: it is none.
    """
    if response.is_success:
        return response
    told = parse_error(response.content)
    words = " ".join(dict.fromkeys(word for word in (told.code, told.message) if word)) if told else ""
    raise S3Error(f"{otherwise}: {response.status_code} {words or response.reason_phrase}", status=response.status_code)
