"""Keys of a role, asked for with other keys: AssumeRole."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from anyio import to_thread

from .._tasks import isolated
from ..errors import S3Error, UsageError
from ..models.identity import Secret
from ..protocol.retry import EXPIRED_CODES
from .base import AbstractCredentials, environment, no_credentials
from .refreshing import ADVISORY_REFRESH, RefreshingCredentials, utc_now
from .security_tokens import GLOBAL_REGION, TIMEOUT, Address, SecurityTokenService, address_of
from .whole import is_plain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime, timedelta

    from ..models import Credentials

DURATIONS: Final = (900, 43200)
"""Seconds: the shortest and the longest that a role's keys may last."""

_SESSION_NAME: Final = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)


class RoleCredentials(RefreshingCredentials):
    """What the two ways to a role have in common: where the service is, and the fields of the form.

    Args:
        role_arn: the role.
        session_name: what the role's doings are logged under.
        duration: seconds that the keys last.
        policy: JSON that narrows what the role may do.
        policy_arns: policies that do.
        region: of the service, and of the keys.
        endpoint: the service's URL.
        timeout: seconds for each request.
        clock: the time now, time-zone aware.
        environ: read instead of the process's environment.

    Raises:
        UsageError: one of them is malformed.
    """

    def __init__(
        self,
        role_arn: str,
        *,
        session_name: str | None,
        duration: int | None,
        policy: str | None,
        policy_arns: Sequence[str],
        region: str,
        endpoint: str | None,
        timeout: float,
        clock: Callable[[], datetime],
        environ: Mapping[str, str] | None,
    ) -> None:
        self._role_arn = role_arn
        super().__init__(clock=clock)
        self._session_name = session_name
        self._region = region
        self._endpoint = endpoint
        self._timeout = timeout
        self._environ = environ
        self._narrowed: dict[str, str] = narrowed(duration, policy, policy_arns)
        if role_arn:
            check_role(role_arn)
        if session_name:
            check_session_name(session_name)

    def _lead(self, lasts: timedelta) -> timedelta:
        """Each fetch gives new keys: not every minute, where they last a quarter of an hour."""
        return min(ADVISORY_REFRESH, lasts / 4)

    def _known_region(self) -> str | None:
        environ = environment(self._environ)
        return self._region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or None

    def _service(self, region: str | None) -> SecurityTokenService:
        if self._endpoint is not None:
            address = Address(url=self._endpoint, region=region or GLOBAL_REGION)
        else:
            address = address_of(region, environment(self._environ))
        return SecurityTokenService(address=address, timeout=self._timeout, clock=self._clock)

    def _form(self, role_arn: str, session_name: str | None) -> dict[str, str]:
        name = session_name or f"handtruck-{int(self._clock().timestamp())}"
        return {"RoleArn": role_arn, "RoleSessionName": name, **self._narrowed}


class AssumeRoleCredentials(RoleCredentials):
    """A role's keys, asked for with the keys of another source (AssumeRole), and refreshed ahead of their end.

    They are asked for when first needed. Where the service calls the source's keys expired, newer ones are taken from
    there, once. A role that wants a one-time code (``mfa_serial``) calls ``mfa_token`` for each fetch: a plain
    function in a worker thread, where it may wait for input, though a cancellation then waits for it; an ``async``
    one on the event loop.

    ::

        keys = AssumeRoleCredentials("arn:aws:iam::123456789012:role/reader", source=EnvironmentCredentials())
        async with S3Client("s3://bucket", credentials=keys) as s3: ...

    Args:
        role_arn: the role.
        source: whose keys may assume it.
        external_id: what the role's owner asks of third parties.
        session_name: what the role's doings are logged under; ``handtruck-`` and the time if blank.
        duration: seconds that the keys last, 900 to 43200; the role's own default if None.
        policy: JSON that narrows what the role may do.
        policy_arns: policies that do, by name.
        mfa_serial: the device that gives the one-time codes, by serial number or ARN.
        mfa_token: gives such a code.
        region: of the service, and of the keys; else ``AWS_REGION``, else ``AWS_DEFAULT_REGION``, else the source's.
        endpoint: the service's URL; else ``AWS_ENDPOINT_URL_STS``, ``AWS_ENDPOINT_URL``, or AWS's in that region.
        timeout: seconds for each request. A failure on the other side, and of the road there, is tried three times.
        clock: the time now, time-zone aware.
        environ: read instead of the process's environment.

    Raises:
        UsageError: an argument is malformed, or there is an ``mfa_serial`` and no ``mfa_token``.

    Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
    """

    def __init__(
        self,
        role_arn: str,
        *,
        source: AbstractCredentials,
        external_id: str | None = None,
        session_name: str | None = None,
        duration: int | None = None,
        policy: str | None = None,
        policy_arns: Sequence[str] = (),
        mfa_serial: str | None = None,
        mfa_token: Callable[[], str | Awaitable[str]] | None = None,
        region: str = "",
        endpoint: str | None = None,
        timeout: float = TIMEOUT,
        clock: Callable[[], datetime] = utc_now,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._source = source
        self._mfa_serial = mfa_serial
        self._mfa_token = mfa_token
        super().__init__(
            role_arn,
            session_name=session_name,
            duration=duration,
            policy=policy,
            policy_arns=policy_arns,
            region=region,
            endpoint=endpoint,
            timeout=timeout,
            clock=clock,
            environ=environ,
        )
        check_role(role_arn)
        if mfa_serial and mfa_token is None:
            raise UsageError(f"{role_arn} wants a one-time code of {mfa_serial}: pass mfa_token=, which gives it")
        if external_id:
            self._narrowed["ExternalId"] = external_id

    @property
    def where(self) -> str:
        """In words."""
        return f"role {self._role_arn} by the keys of {self._source.where}"

    async def _fetch(self, known: Credentials | None) -> Credentials:  # noqa: ARG002 - each fetch begins anew
        keys = await self._source_keys(None)
        try:
            return await self._assume(keys)
        except S3Error as error:
            if error.code not in EXPIRED_CODES:
                raise
            newer = await self._source_keys(keys)
            if newer == keys:
                raise
        return await self._assume(newer)

    async def _source_keys(self, rejected: Credentials | None) -> Credentials:
        keys = await self._source.get(rejected=rejected)
        if keys is None:
            raise UsageError(f"role {self._role_arn} cannot be assumed: {no_credentials(self._source)}")
        return keys

    async def _assume(self, keys: Credentials) -> Credentials:
        region = self._known_region() or keys.region
        fields = self._form(self._role_arn, self._session_name)
        if self._mfa_serial:
            fields |= {"SerialNumber": self._mfa_serial, "TokenCode": await self._code()}
        found = await self._service(region).call("AssumeRole", fields, keys)
        return replace(found, region=region)

    async def _code(self) -> Secret:
        """A one-time code. Each serves once only."""
        code = await _answer_of(self._mfa_token)
        if not is_plain(code):
            raise UsageError(f"mfa_token= gave no one-time code for {self._mfa_serial}")
        return code


async def _answer_of(give: Callable[[], str | Awaitable[str]] | None) -> Secret:
    """What a function or a coroutine function gives."""
    if give is None:
        return Secret()
    given = give() if inspect.iscoroutinefunction(give) else await isolated(lambda: to_thread.run_sync(give))
    return Secret((given if isinstance(given, str) else await given).strip())


def narrowed(duration: int | None, policy: str | None, policy_arns: Sequence[str]) -> dict[str, str]:
    """The fields that shorten or narrow what the keys are good for.

    Raises:
        UsageError: the duration is out of bounds.
    """
    fields = {f"PolicyArns.member.{number}.arn": arn for number, arn in enumerate(policy_arns, 1)}
    if policy:
        fields["Policy"] = policy
    if duration is not None:
        if not DURATIONS[0] <= duration <= DURATIONS[1]:
            raise UsageError(f"a role's keys last {DURATIONS[0]} to {DURATIONS[1]} seconds, not {duration}")
        fields["DurationSeconds"] = str(duration)
    return fields


def check_role(role_arn: str) -> None:
    """Refuse what cannot be the name of a role.

    Raises:
        UsageError: it does not begin with ``arn:``, or has characters that no ARN has.
    """
    if not (role_arn.startswith("arn:") and is_plain(role_arn) and " " not in role_arn):
        raise UsageError(f"{role_arn[:100]!r} is no role: arn:aws:iam::ACCOUNT:role/NAME")


def check_session_name(name: str) -> None:
    """Refuse a session name that the service does not take.

    Raises:
        UsageError: it is not 2 to 64 letters, digits or ``_+=,.@-``.
    """
    if not _SESSION_NAME.fullmatch(name):
        raise UsageError(f"{name[:100]!r} is no session name: 2 to 64 letters, digits and _+=,.@-")
