"""Presigning: URLs and forms by which others ask S3 in our name, for a while. Nothing is sent."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Unpack, cast

from ..errors import UsageError
from ..protocol import presigning
from ..protocol.post_policy import new_policy, sign_post
from . import arguments
from .base import Family

if TYPE_CHECKING:
    from ..models import PresignedPost, PresignedURL
    from ..protocol.address import Location
    from ..protocol.hosts import Route
    from ..protocol.operations import Headers
    from ..protocol.options import ReadOptions
    from ..protocol.post_policy import PostOptions, PostStatus
    from .arguments import HeaderTypes, ObjectName, ParamTypes

_HOUR: Final = 3600
_OF_ANSWERS: Final = ("response_", "if_modified_since", "if_unmodified_since")

log: Final = logging.getLogger("handtruck")


class PresignMethods(Family):
    """``presign presign_post``."""

    async def presign(
        self,
        method: str,
        object_name: ObjectName,
        *,
        expires: float | timedelta = _HOUR,
        headers: HeaderTypes | None = None,
        params: ParamTypes | None = None,
        **options: Unpack[ReadOptions],
    ) -> PresignedURL:
        """Make a URL by which anyone may do one thing, as often as they like, until it expires; any S3 operation.

        ::

            url = await s3.presign("GET", "bucket/key", response_content_disposition='attachment; filename="a.txt"')

            url = await s3.presign("PUT", "bucket/key", expires=300, headers={"Content-Type": "text/csv"})
            httpx.put(url, headers=url.headers, content=data)

            part = await s3.presign("PUT", "bucket/key", params={"partNumber": 3, "uploadId": upload_id})

        Nothing is sent: at most the credentials are found. Whoever has the URL has the rights of these credentials for
        that one request, and their owner pays for it; there is no way to take it back but to revoke the keys. A PUT
        takes any body of up to 5 GiB: sign a ``Content-Length`` or a ``Content-MD5`` to say which, or use
        :meth:`presign_post`, which knows a greatest size. HTTP clients log URLs (httpx at INFO): to print the result
        with ``repr`` shows no signature, ``str`` does.

        Temporary keys may end before ``expires``, and the URL with them: ``url.expires_at`` is the earlier time, and
        the logger ``handtruck`` gets a warning.

        Args:
            method: the HTTP method: GET is no HEAD.
            object_name: as in :meth:`request`; a bucket's name for what is asked of a bucket.
            expires: seconds, or a timedelta; from 1 second to 7 days, in whole seconds (what is over is cut off).
            headers: what the user of the URL must send, exactly so: all of them are signed, and come back as
                ``url.headers``. ``Content-Length`` is allowed here. Whoever sends ``x-amz-`` headers that are not
                signed is refused.
            params: query parameters, not encoded; a sub-resource has None (``{"uploads": None}``).
            options: version, conditions and the answer's headers: :class:`~handtruck.ReadOptions`. What they put into
                headers is the user's to send, too: the key of ``sse=`` above all, which never stands in the URL.

        Raises:
            UsageError: the times are out of range; a key of the caller's own would stand in the URL; a header cannot
                be signed; an option has no meaning for the method; there are no credentials.
            ConnectionFailed, InvalidResponse: the source of the credentials cannot be asked.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
        """
        verb, seconds = presigning.method_of(method), presigning.seconds_of(expires)
        location = self._locate(object_name)
        length, others = _length(headers)
        sent, query = self._reading(others, options)
        sent, query = (*sent, *length), arguments.merged_query(params, query)
        presigning.check_request(query, sent)
        _check_options(verb, options)
        signer, route = await self._signer(location, seconds)
        return presigning.presign(
            signer,
            method=verb,
            origin=route.origin,
            path=route.path,
            query=query,
            headers=sent,
            seconds=seconds,
        )

    async def presign_post(
        self,
        object_name: ObjectName,
        *,
        expires: float | timedelta = _HOUR,
        min_size: int | None = None,
        max_size: int | None = None,
        redirect: str | None = None,
        status: PostStatus | None = None,
        fields: Mapping[str, str] | None = None,
        starts_with: Mapping[str, str] | None = None,
        **options: Unpack[PostOptions],
    ) -> PresignedPost:
        """Make a form by which a browser, or any HTTP client, may store an object until it expires.

        ::

            post = await s3.presign_post(
                "bucket/uploads/${filename}", max_size=10 * 2**20, starts_with={"Content-Type": "image/"}
            )
            data = post.fields | {"Content-Type": "image/png"}
            httpx.post(post.url, data=data, files={"file": ("a.png", image)})

        Nothing is sent: at most the credentials are found. Everything in the form has a condition in its policy, and
        what has none S3 refuses. It can be sent any number of times, and each overwrites the object; without
        ``max_size`` each may store 5 GiB, which the bucket's owner pays for. Temporary keys that end before
        ``expires``: see :meth:`presign`.

        Args:
            object_name: the key, exactly; or what it begins with and ``${filename}``, where the name of the sender's
                file goes. The sender may choose any key with that beginning then.
            expires: see :meth:`presign`.
            min_size: bytes that the file must have; included.
            max_size: bytes that it may have; included.
            redirect: where S3 sends the browser afterwards, by 303, with ``bucket``, ``key`` and ``etag`` in the query.
            status: what S3 answers where it does not redirect: 204 if nothing is said.
            fields: more form fields, exactly, by S3's names.
            starts_with: form fields that the sender fills in, and what each must begin with (an empty text: anything).
                They come back as ``post.open_fields``.
            options: what the object will be: :class:`~handtruck.PostOptions`.

        Raises:
            UsageError: the times or sizes are out of range; the bucket's name is not known; a field is given twice, is
                handtruck's own, or would give a key away; there are no credentials.
            ConnectionFailed, InvalidResponse: the source of the credentials cannot be asked.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html
        """
        seconds = presigning.seconds_of(expires)
        location = self._locate(object_name)
        policy = new_policy(
            location,
            min_size=min_size,
            max_size=max_size,
            redirect=redirect,
            status=status,
            fields=fields,
            starts_with=starts_with,
            options=options,
        )
        bucket = self._session.endpoint.locate_bucket(bucket=policy.bucket)
        signer, route = await self._signer(bucket, seconds)
        url = route.origin + (route.path.rstrip("/") or "/")
        return sign_post(signer, url=url, policy=policy, seconds=seconds)

    async def _signer(self, location: Location, seconds: int) -> tuple[presigning.Signer, Route]:
        session = self._session
        await session.ready()
        keys, now = await session.keys(), session.now()
        if keys is None:
            raise UsageError("there is nothing to sign with: this client is anonymous")
        route = session.route(location, keys)
        if route.session:
            raise UsageError("requests about a directory bucket's objects are signed for a session, and not presigned")
        signer = presigning.Signer(credentials=keys, region=route.region or "", now=now, service=route.service)
        if keys.expires_at is not None and keys.expires_at < now + timedelta(seconds=seconds):
            log.warning(
                "presigned for %d s, but the temporary keys end at %s, and what they signed with them",
                seconds,
                keys.expires_at.isoformat(timespec="seconds"),
            )
        return signer, route


def _length(headers: HeaderTypes | None) -> tuple[Headers, HeaderTypes]:
    """The Content-Length, which elsewhere is handtruck's own; and the other headers."""
    if not headers:
        return (), ()
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    items = cast("list[tuple[str, object]]", list(pairs))
    said = tuple(header for header in items if str(header[0]).lower() == "content-length")
    for name, value in said:
        if len(said) > 1 or not (isinstance(value, str) and re.fullmatch(r"[0-9]+", value)):
            raise UsageError(f"the value of the header {name} must be a number of bytes, as text")
    others = [header for header in items if header not in said]
    return cast("Headers", said), cast("list[tuple[str, str]]", others)


def _check_options(method: str, options: ReadOptions) -> None:
    if method in ("GET", "HEAD"):
        return
    for name in options:
        if name.startswith(_OF_ANSWERS):
            raise UsageError(f"{name}= is for GET and HEAD, not for {method}")
