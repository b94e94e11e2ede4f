"""Where a client's requests go: what its constructor is told, and, where that is no URL, what the settings say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import httpx

from ..credentials.settings import hosts_of, read_settings
from ..errors import UsageError
from ..protocol.address import Endpoint, check_addressing, check_bucket, encode_path, parse_endpoint
from ..protocol.hosts import CustomHosts
from ..protocol.s3_urls import is_s3_url, parse_s3_url, shown_s3_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..protocol.address import Addressing

_AWS: Final = "https://s3.amazonaws.com"


def given_endpoint(url: str | None, bucket: str | None, addressing: Addressing) -> Endpoint:
    """What the constructor was told.

    Of ``s3://bucket/prefix``, or nothing at all, only the names are known so far; :func:`find_endpoint` finds the rest.

    Raises:
        UsageError: the URL, ``bucket`` or ``addressing`` cannot be used, or they do not go together.
    """
    check_addressing(addressing)
    bucket = None if bucket is None else check_bucket(bucket)
    if url is not None and not is_s3_url(url):
        return parse_endpoint(url, bucket=bucket, addressing=addressing)
    prefix = ""
    if url is not None:
        named, prefix = parse_s3_url(url)
        prefix += "" if not prefix or prefix.endswith("/") else "/"
        if bucket is not None and bucket != named:
            raise UsageError(f"bucket={bucket!r}, but the URL is that of {named!r}")
        bucket = named
    path = f"/{encode_path(bucket)}" if bucket else ""
    if bucket:
        _check_shown(bucket, prefix)
    return Endpoint(origin="", path=path, bucket=bucket, fixed=bucket is not None, region=None, prefix=prefix)


def _check_shown(bucket: str, prefix: str) -> None:
    """A client is shown (in logs, of all places) by a URL: better no client than one that cannot be.

    Raises:
        UsageError: there is none. The message does not show it.
    """
    try:
        httpx.URL(shown_s3_url(bucket, prefix))
    except httpx.InvalidURL:
        raise UsageError("the bucket is called like an address that is none, or the prefix is far too long") from None


def is_found(endpoint: Endpoint) -> bool:
    """It is known where to send requests."""
    return bool(endpoint.origin)


async def find_endpoint(
    named: Endpoint, addressing: Addressing, *, profile: str | None = None, environ: Mapping[str, str] | None = None
) -> Endpoint:
    """Where the named bucket, or any, is to be found, by environment and config files.

    Raises:
        UsageError: what they say makes no sense.
    """
    settings = await read_settings(environ=environ, profile=profile)
    hosts = hosts_of(settings, addressing)
    origin, region = _AWS, settings.region
    if isinstance(hosts, CustomHosts):
        origin = hosts.origin
        region = parse_endpoint(origin).region or region  # of the two, the host takes no other
    return replace(named, origin=origin, region=region, aws=hosts.aws, hosts=hosts)
