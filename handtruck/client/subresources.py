"""What methods share that are about one object and not about its bytes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from ..errors import AccessDenied, InvalidResponse, S3Error, UsageError
from ..protocol.answers import Answer, failure
from ..protocol.operations.configuration import Setting
from ..protocol.operations.subresources import KINDS
from ..protocol.stat import is_an_object
from ..transport.reading import read_whole
from .base import Family

if TYPE_CHECKING:
    import httpx

    from ..protocol.address import Location
    from ..protocol.operations import Operation
    from .arguments import ObjectName

T = TypeVar("T")


class SubresourceFamily(Family):
    """Some methods of :class:`handtruck.S3Client` that are about one object."""

    def _locate_object(self, object_name: ObjectName) -> Location:
        """Where an object is.

        Raises:
            UsageError: the name has no key, or no bucket. The request would be one about the bucket.
        """
        location = self._locate(object_name)
        if not location.key or not (location.bucket or self._session.endpoint.fixed):
            raise UsageError(
                f"{str(location)!r} names no object: write bucket/key "
                '(where the host names the bucket, S3Client wants addressing="virtual")'
            )
        return location

    async def _read_setting_of(self, kind: str, operation: Operation[Setting[T]]) -> T | None:
        """What an object's sub-resource holds; None: nothing.

        Raises:
            InvalidResponse: the server gives the object instead.
        """
        try:
            setting = await self._ask(operation)
        except S3Error as error:
            if error.code in KINDS[kind].absent:
                return None
            raise
        if not setting.known:
            raise InvalidResponse(
                f"{operation.name} {operation.location}: this server does not know ?{kind}: it gives the object, or "
                "something else, instead, and would take a PUT or a DELETE of it for one of the object"
            )
        return setting.value

    async def _change(self, kind: str, asking: Operation[Setting[T]], changing: Operation[None]) -> None:
        """Change an object's sub-resource, where the server has one.

        Where the server is not trusted with that (``Quirks.trusted``: AWS is) it is found out first: rclone overwrites
        the object with its tags, and deletes it with them. Who may not read it is believed to know the server.
        """
        await self._session.ready()
        if not self._session.quirks.trusted:
            with suppress(AccessDenied):
                await self._read_setting_of(kind, asking)
        await self._session.perform(changing)

    async def _ask(self, operation: Operation[Setting[T]]) -> Setting[T]:
        """As the session performs it, but that an object which comes instead is not read: it may be large."""

        async def receive(_: Operation[object], response: httpx.Response, attempt: int) -> Setting[T]:
            if response.is_success and is_an_object(response.headers):
                return Setting(known=False, value=None)
            await read_whole(response)
            answer = Answer(status=response.status_code, headers=response.headers, body=response.content)
            if not response.is_success:
                raise failure(answer, operation.name, operation.location, attempt)
            try:
                return operation.parse(answer)
            except InvalidResponse as error:
                raise InvalidResponse(f"{operation.name} {operation.location}: {error}") from error

        return await self._session.exchange(lambda: operation, receive)
