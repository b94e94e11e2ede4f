"""S3Client: the sum of small families of methods, each of a few lines."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Never, Self

import httpx

from .._session import Session
from ..credentials import AbstractCredentials, collect_credentials
from ..errors import UsageError
from ..protocol.address import Addressing, has_userinfo
from ..protocol.quirks import Quirks, QuirksName, chosen_quirks
from ..protocol.s3_urls import shown_s3_url
from ..transport.own import OwnSender
from ..transport.senders import ClientSender
from .bucket_documents import BucketDocumentMethods
from .buckets import BucketMethods
from .configuration import ConfigurationMethods
from .copies import CopyMethods
from .deletes import DeleteMethods
from .endpoints import find_endpoint, given_endpoint, is_found
from .groups import GroupMethods
from .http import HttpMethods
from .lists import ListMethods
from .locking import LockingMethods
from .multipart import MultipartMethods
from .objects import ObjectMethods
from .presigning import PresignMethods
from .streams import StreamMethods
from .tagging import TaggingMethods
from .transfers import TransferMethods
from .versions import VersionMethods

if TYPE_CHECKING:
    from types import TracebackType

    import anyio

DEFAULT_MAX_CONNECTIONS: Final = 64
"""Below httpx's own limit of 100, so that a caller's client with default limits never queues our requests."""

DEFAULT_MAX_ATTEMPTS: Final = 4


class S3Client(
    HttpMethods,
    ListMethods,
    TransferMethods,
    GroupMethods,
    MultipartMethods,
    StreamMethods,
    VersionMethods,
    DeleteMethods,
    PresignMethods,
    CopyMethods,
    BucketMethods,
    ConfigurationMethods,
    BucketDocumentMethods,
    ObjectMethods,
    TaggingMethods,
    LockingMethods,
):
    """An S3 endpoint, or one bucket of it, under asyncio and trio.

    Methods named after HTTP verbs, ``request`` and ``put_file`` give the :class:`httpx.Response` whatever its status,
    its body read. All others give a typed result or raise one of :mod:`handtruck.errors`.

    Any method may be cancelled at any moment: a call that has returned, raised or been cancelled leaves nothing
    behind. One client serves any number of tasks of one event loop.

    Args:
        url: where S3 is: ``http://host``, with ``/bucket`` if the client is for one bucket, or
            ``http://bucket.host`` with ``addressing="virtual"``. It may hold credentials:
            ``http://KEY_ID:SECRET@host``. The target of a request is always the URL's path joined with the object's
            name, byte for byte. Or ``s3://bucket``, ``s3://bucket/prefix`` (names are those below the prefix then), or
            nothing: requests go to AWS's hosts, by bucket and region, or to the endpoint URL that the environment
            (``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL``) or the profile names.
        client: an :class:`httpx.AsyncClient` to send with. It stays yours: its headers, hooks, mounts, proxies and
            timeouts hold, and it is never closed. Without one the S3Client has connections of its own and is used
            as ``async with``.
        secret_access_key: with ``access_key_id``, the keys to sign with.
        access_key_id: see ``secret_access_key``.
        session_token: goes with temporary keys.
        region: to sign for. Default: what an AWS host or the credentials' source says, else ``us-east-1``.
        credentials: a source of keys. Default: keywords, the URL's user and password, and then what AWS's own tools
            ask, in their order; see :func:`handtruck.credentials.collect_credentials`. Nothing is read before the
            first request.
        profile: of the config files, for keys and settings. Default: ``AWS_DEFAULT_PROFILE``, else ``AWS_PROFILE``,
            else ``default``.
        anonymous: sign nothing: for what everybody may do.
        bucket: the name of the bucket that the URL stands for, where it cannot be seen in it.
        addressing: where the bucket stands in the URL: ``"path"``, ``"virtual"`` (in the host) or found out. Without a
            URL: where it is to be put; found out means in the host on AWS, if it can stand there, and in the path
            elsewhere.
        max_connections: requests on the wire at once; one more may undo an upload. With a client of yours, no more
            than its pool has connections.
        max_attempts: how often a request is sent in all before a failure that might pass is final.
        limiter: one more bound on requests on the wire, to share between clients: each request, but those that undo
            an upload, holds one of its tokens while it is on the wire.
        proxy: send through it. Default: the one that the environment names (``HTTPS_PROXY`` and others), if any.
            Requests go through httpx's own transport then, which is slower.
        quirks: what the server does otherwise than S3: :class:`~handtruck.Quirks`, or a server's name, as ``"ceph"``.
            Default: what its host is known for.

    Raises:
        UsageError: the URL is unusable, or the arguments contradict each other.
    """

    def __init__(
        self,
        url: str | httpx.URL | None = None,
        client: httpx.AsyncClient | None = None,
        *,
        secret_access_key: str | None = None,
        access_key_id: str | None = None,
        session_token: str | None = None,
        region: str = "",
        credentials: AbstractCredentials | None = None,
        profile: str | None = None,
        anonymous: bool = False,
        bucket: str | None = None,
        addressing: Addressing = "auto",
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        limiter: anyio.CapacityLimiter | None = None,
        proxy: str | httpx.URL | httpx.Proxy | None = None,
        quirks: Quirks | QuirksName | None = None,
    ) -> None:
        for name, value in (("max_connections", max_connections), ("max_attempts", max_attempts)):
            if value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        keywords = (access_key_id, secret_access_key, session_token)
        endpoint = given_endpoint(None if url is None else str(url), bucket, addressing)
        in_url = str(url) if url is not None and is_found(endpoint) else None
        told = any(keywords) or (in_url is not None and has_userinfo(in_url))
        if (credentials is not None) + told + anonymous > 1:
            raise UsageError("give one of credentials=, keys (by keyword or in the URL) and anonymous=True")
        if client is not None and proxy is not None:
            raise UsageError("give proxy= to the httpx client that you give as client=")
        if credentials is None and not anonymous:
            credentials = collect_credentials(
                url=in_url,
                access_key_id=access_key_id,
                secret_access_key=secret_access_key,
                session_token=session_token,
                profile=profile,
            )
        self._session = Session(
            endpoint=endpoint,
            find=None if is_found(endpoint) else partial(find_endpoint, endpoint, addressing, profile=profile),
            sender=OwnSender(max_connections=max_connections + 1, proxy=proxy)
            if client is None
            else ClientSender(client),
            credentials=credentials,
            region=region,
            max_connections=max_connections,
            max_attempts=max_attempts,
            limiter=limiter,
            chosen=chosen_quirks(quirks),
            clock=partial(datetime.now, UTC),
            random=random.random,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._shown()}>"

    @property
    def url(self) -> httpx.URL:
        """The endpoint, without user and password; ``s3:`` and the bucket, if any, where settings say where it is.

        For people: a prefix is percent-encoded, and a bucket's name in lower case, as URLs have their hosts.
        """
        return httpx.URL(self._shown())

    def _shown(self) -> str:
        endpoint = self._session.endpoint
        if endpoint.hosts is None and is_found(endpoint):
            return endpoint.origin + endpoint.path
        return shown_s3_url(endpoint.bucket, endpoint.prefix) if endpoint.bucket else "s3:"

    def __reduce_ex__(self, _: object) -> Never:
        raise TypeError("an S3Client holds connections and keys, which do not leave this process: make another there")

    async def __aenter__(self) -> Self:
        """Read the settings that say where the endpoint is, if no URL does.

        Raises:
            UsageError: they make no sense.
        """
        await self._session.ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close our own connections; a caller's client is left alone. A closed client sends no more."""
        await self._session.sender.aclose()
