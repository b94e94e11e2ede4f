"""Several sources as one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..models import Credentials
from .base import AbstractCredentials
from .files import ConfigCredentials
from .static import EnvironmentCredentials, StaticCredentials, URLCredentials

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx


def merge_credentials(*sources: AbstractCredentials) -> AbstractCredentials:
    """One source out of several, field by field: the first that has a field gives it. Nothing is read yet.

    Secret and token are only taken from a source whose own key id is blank or the chosen one, so that keys of
    two identities are never mixed. Every source is asked each time, and an error of any is an error.

    Raises:
        UsageError: no sources were given.
    """
    if not sources:
        raise UsageError("merge_credentials() needs at least one source")
    return MergedCredentials(sources)


def collect_credentials(
    *,
    url: str | httpx.URL | None = None,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    session_token: str | None = None,
    region: str = "",
    environ: Mapping[str, str] | None = None,
) -> AbstractCredentials:
    """The sources a client asks by itself: these arguments, the URL's user and password, environment, config files.

    The first whole credential is taken, never a mixture. The region is ``region``, else the first that a
    source in the same order has (so ``AWS_REGION`` overrides a profile's, as with AWS's own tools). Nothing is
    read yet.

    Args:
        url: the endpoint's URL.
        access_key_id: the public half.
        secret_access_key: the secret half.
        session_token: goes with temporary keys.
        region: the region to sign for.
        environ: read instead of the process's environment.

    Raises:
        UsageError: half a credential, or the URL is malformed.
    """
    _require_whole(access_key_id, secret_access_key, session_token)
    sources: list[AbstractCredentials] = [
        StaticCredentials(access_key_id or "", secret_access_key or "", session_token or None)
    ]
    if url is not None:
        sources.append(URLCredentials(url))
    sources += [EnvironmentCredentials(environ=environ), ConfigCredentials(environ=environ)]
    return ChainedCredentials(sources, region=region)


def _require_whole(access_key_id: str | None, secret_access_key: str | None, session_token: str | None) -> None:
    given = access_key_id or secret_access_key or session_token
    if given and not access_key_id:
        raise UsageError("access_key_id= is missing: the keys were given without it")
    if given and not secret_access_key:
        raise UsageError("secret_access_key= is missing: access_key_id= was given without it")


class MergedCredentials(AbstractCredentials):
    """What :func:`merge_credentials` returns."""

    def __init__(self, sources: Sequence[AbstractCredentials]) -> None:
        self._sources = tuple(sources)

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        """The fields of all sources, merged; see :meth:`AbstractCredentials.load`."""
        return merge([await source.load(rejected=rejected) for source in self._sources])

    @property
    def where(self) -> str:
        """In words."""
        return _places(self._sources)


class ChainedCredentials(AbstractCredentials):
    """The first of several sources that has a whole credential; asked again first, once it is known.

    Args:
        sources: in order.
        region: the region to sign for; blank takes the first that a source has.
    """

    def __init__(self, sources: Sequence[AbstractCredentials], *, region: str = "") -> None:
        self._sources = tuple(sources)
        self._region = region
        self._winner: tuple[AbstractCredentials, str | None] | None = None
        self._given: tuple[Credentials, Credentials] | None = None

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        """The first whole credential, or none but maybe a region; see :meth:`AbstractCredentials.load`.

        A source after the winner is only asked for its region, and ignored if it cannot be used: a broken file
        that nobody needs does not spoil good keys.
        """
        if self._winner is not None:
            source, region = self._winner
            found = await source.load(rejected=rejected)
            if found.complete:
                return self._in_region(found, region)
        return await self._search(rejected)

    def _in_region(self, found: Credentials, region: str | None) -> Credentials:
        """The same object for the same keys: whoever has seen it need not look at it again."""
        if self._given is None or self._given[0] is not found:
            self._given = found, replace(found, region=region)
        return self._given[1]

    @property
    def where(self) -> str:
        """In words."""
        return _places(self._sources)

    async def _search(self, rejected: Credentials | None) -> Credentials:
        self._winner = None
        region: str | None = self._region or None
        for place, source in enumerate(self._sources):
            found = await source.load(rejected=rejected)
            region = region or found.region
            if found.complete:
                region = region or await _first_region(self._sources[place + 1 :])
                self._winner, self._given = (source, region), None
                return self._in_region(found, region)
        return Credentials(region=region)


async def _first_region(sources: Sequence[AbstractCredentials]) -> str | None:
    for source in sources:
        try:
            found = await source.load()
        except UsageError:
            continue
        if found.region:
            return found.region
    return None


def merge(found: Sequence[Credentials]) -> Credentials:
    """Merge field by field, as :func:`merge_credentials` says; ends when the first of what went in ends."""
    key_id = next((one.access_key_id for one in found if one.access_key_id), "")
    kin = [one for one in found if one.access_key_id in ("", key_id)]
    return Credentials(
        access_key_id=key_id,
        secret_access_key=next((one.secret_access_key for one in kin if one.secret_access_key), ""),
        session_token=next((one.session_token for one in kin if one.session_token), None),
        region=next((one.region for one in found if one.region), None),
        expires_at=min((one.expires_at for one in kin if one.expires_at), default=None),
    )


def _places(sources: Sequence[AbstractCredentials]) -> str:
    return "; ".join(source.where for source in sources)
