"""Several sources as one."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .._tasks import LoopLocks
from ..errors import HandtruckError, UsageError
from ..models import Credentials
from ..models.identity import Secret
from .base import AbstractCredentials, afresh, environment
from .container import ContainerCredentials
from .files import AUTO
from .metadata import MetadataCredentials
from .profile_keys import ProfileCredentials
from .profiles import profile_alone, profile_name, read_profiles
from .refreshing import utc_now
from .static import EnvironmentCredentials, StaticCredentials, URLCredentials

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    import httpx

log: logging.Logger = logging.getLogger("handtruck")


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
    profile: str | None = None,
    mfa_token: Callable[[], str | Awaitable[str]] | None = None,
    clock: Callable[[], datetime] = utc_now,
    environ: Mapping[str, str] | None = None,
) -> AbstractCredentials:
    """The sources a client asks by itself, in the order of AWS's SDKs.

    1. these arguments; the URL's user and password
    2. ``AWS_ACCESS_KEY_ID`` and the like in the environment, unless a ``profile`` is named here
    3. the profile, in all the ways of :class:`ProfileCredentials`: a role, a web identity, IAM Identity Center, the
       credentials file, ``credential_process``, the config file
    4. the container's credentials service
    5. the EC2 instance metadata service, which takes a second where there is none

    The first whole credential is taken, never a mixture; its source is asked again from then on, and refreshes what
    ends. A source that is there and broken is an error, unless an earlier one has keys. The region is ``region``, else
    the environment's, else the profile's, else what comes with the keys. Nothing is read yet.

    ::

        async with S3Client("s3://bucket", credentials=collect_credentials(profile="work")) as s3: ...

    Args:
        url: the endpoint's URL.
        access_key_id: the public half.
        secret_access_key: the secret half.
        session_token: goes with temporary keys.
        region: the region to sign for.
        profile: of the config files, which has to be there; None: the one that the environment names, or ``default``.
        mfa_token: gives the one-time code that a role with ``mfa_serial`` wants: see :class:`AssumeRoleCredentials`.
        clock: the time now, time-zone aware.
        environ: read instead of the process's environment.

    Raises:
        UsageError: half a credential, or the URL is malformed.
    """
    secret_access_key = None if secret_access_key is None else Secret(secret_access_key)
    session_token = None if session_token is None else Secret(session_token)
    url = None if url is None else Secret(url)
    environ = None if environ is None else environment(environ)
    _require_whole(access_key_id, secret_access_key, session_token)
    sources: list[AbstractCredentials] = [
        StaticCredentials(access_key_id or "", secret_access_key or "", session_token or None)
    ]
    if url is not None:
        sources.append(URLCredentials(url))
    if not profile:
        sources.append(EnvironmentCredentials(environ=environ))
    named = profile or AUTO
    sources += [
        ProfileCredentials(named, mfa_token=mfa_token, clock=clock, environ=environ),
        ContainerCredentials(clock=clock, environ=environ),
        MetadataCredentials(profile=named, clock=clock, environ=environ),
    ]
    return ChainedCredentials(sources, region=region, settings=RegionSettings(profile=named, environ=environ))


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

    @property
    def tried(self) -> str:
        """Where was looked, and why each place has no whole credential."""
        return "; ".join(source.tried for source in self._sources)

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        """The fields of all sources, merged; see :meth:`AbstractCredentials.load`."""
        return merge([await source.load(rejected=rejected) for source in self._sources])

    @property
    def where(self) -> str:
        """In words."""
        return _places(self._sources)


@dataclass(frozen=True, slots=True)
class Tried:
    """What one source said when it was asked for keys.

    Attributes:
        where: where it looks.
        said: why it has none; blank if it gave keys.
    """

    where: str
    said: str


class RegionSettings:
    """Where a region may stand that is nobody's keys': the environment, and a profile.

    Args:
        profile: the name, or ``"auto"``.
        environ: read instead of the process's environment.
    """

    def __init__(self, *, profile: str = AUTO, environ: Mapping[str, str] | None = None) -> None:
        self._profile = profile
        self._environ = environ

    def in_environment(self) -> str | None:
        """``AWS_REGION``, else ``AWS_DEFAULT_REGION``."""
        environ = environment(self._environ)
        return environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or None

    async def in_profile(self) -> str | None:
        """The profile's; None where the files cannot be used: nobody needs them for keys."""
        environ = environment(self._environ)
        try:
            profiles = await read_profiles(None, None, environ)
        except UsageError:
            return None
        name = profile_name(environ) if self._profile == AUTO else self._profile
        return profile_alone(profiles, name).settings.get("region") or None


class ChainedCredentials(AbstractCredentials):
    """The first of several sources that has a whole credential; asked again, alone, once it is known.

    One search at a time on each event loop, however many ask; all who wait for one that fails are told of that.

    Args:
        sources: in order.
        region: the region to sign for; blank takes the first that the environment, a source or the profile has.
        settings: where else a region may stand; None: the sources after the one with the keys are asked for theirs.
    """

    def __init__(
        self, sources: Sequence[AbstractCredentials], *, region: str = "", settings: RegionSettings | None = None
    ) -> None:
        self._sources = tuple(sources)
        self._region = region
        self._settings = settings
        self._forget()

    def _forget(self) -> None:
        self._locks = LoopLocks()
        self._winner: tuple[AbstractCredentials, str | None] | None = None
        self._given: tuple[Credentials, Credentials] | None = None
        self._nothing: Credentials | None = None
        self._failed: HandtruckError | None = None
        self._record: tuple[Tried, ...] = ()

    def __getstate__(self) -> dict[str, object]:
        return {"_sources": self._sources, "_region": self._region, "_settings": self._settings}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._forget()

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        """The first whole credential, or none but maybe a region; see :meth:`AbstractCredentials.load`.

        A source after the winner is not asked: a broken one that nobody needs does not spoil good keys.
        """
        winner = self._winner
        if winner is not None:
            again = await winner[0].load(rejected=rejected)
            given = self._given
            if given is not None and given[0] is again:
                return given[1]  # as for nearly every request
            if again.complete:
                return self._in_region(again, winner[1])
        before, failed = self._record, self._failed
        async with self._locks.here():
            if self._record is not before:  # somebody else has searched meanwhile
                found = await self._from_winner(rejected) or self._nothing
                if found is not None:
                    return found
            latest = self._failed
            if latest is not None and latest is not failed:
                raise afresh(latest)  # whoever waited for a search that failed does not begin another
            return await self._search(rejected)

    @property
    def record(self) -> tuple[Tried, ...]:
        """What each source said when they were last asked one after the other, as far as that went."""
        return self._record

    @property
    def where(self) -> str:
        """In words."""
        return _places(self._sources)

    @property
    def tried(self) -> str:
        """Where was looked, and why each place has no keys."""
        return _told(self._record) or self.where

    async def _from_winner(self, rejected: Credentials | None) -> Credentials | None:
        if self._winner is None:
            return None
        source, region = self._winner
        found = await source.load(rejected=rejected)
        return self._in_region(found, region) if found.complete else None

    def _in_region(self, found: Credentials, region: str | None) -> Credentials:
        """The same object for the same keys: whoever has seen it need not look at it again."""
        if self._given is None or self._given[0] is not found:
            self._given = found, replace(found, region=region)
        return self._given[1]

    async def _search(self, rejected: Credentials | None) -> Credentials:
        self._winner, self._nothing, self._failed, self._record = None, None, None, ()
        region = self._region or (self._settings.in_environment() if self._settings else None)
        tried: list[Tried] = []
        for place, source in enumerate(self._sources):
            try:
                found = await source.load(rejected=rejected)
            except HandtruckError as error:
                if tried:
                    error.add_note(f"keys were looked for before that: {_told(tried)}")
                self._tell([*tried, Tried(source.where, str(error))])
                self._failed = afresh(error)
                raise
            region = region or found.region
            tried.append(Tried(source.where, "" if found.complete else source.reason))
            if found.complete:
                self._tell(tried)
                region = region or await self._other_region(self._sources[place + 1 :])
                self._winner, self._given = (source, region), None
                return self._in_region(found, region)
        self._tell(tried)
        self._nothing = Credentials(region=region)
        return self._nothing

    async def _other_region(self, later: Sequence[AbstractCredentials]) -> str | None:
        if self._settings is not None:
            return await self._settings.in_profile()  # services and programs are not asked for keys nobody needs
        for source in later:
            try:
                found = await source.load()
            except HandtruckError:
                continue
            if found.region:
                return found.region
        return None

    def _tell(self, tried: Sequence[Tried]) -> None:
        self._record = tuple(tried)
        for each in tried:
            log.debug("credentials: %s: %s", each.where, each.said or "found")


def _told(tried: Sequence[Tried]) -> str:
    return "; ".join(f"{each.where}: {each.said}" for each in tried)


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
