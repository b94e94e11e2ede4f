"""Keys that IAM Identity Center (the successor to AWS Single Sign-On) gives to a user who has signed on."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import anyio
from anyio import to_thread

from .._tasks import isolated
from ..errors import (
    AccessDenied,
    ConnectionFailed,
    HandtruckError,
    InvalidResponse,
    NotFound,
    S3Error,
    Throttled,
    UsageError,
)
from ..protocol.regions import check_region, partition_of
from ..protocol.signing import Signature
from .answers import object_in
from .base import environment
from .http import ask
from .refreshing import RefreshingCredentials, utc_now
from .sso_cache import FOLDER, cache_path, read_token, renewed, write_token
from .whole import SecretBytes, is_plain, whole_keys

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from ..models import Credentials
    from .sso_cache import Token

TIMEOUT: Final = 10.0  # seconds for each request
RETRY_PAUSES: Final = (0.1, 0.4)  # seconds between the three tries that a failure on the other side gets
RENEW_AHEAD: Final = timedelta(minutes=15)
"""How long before a token's end a newer one is asked for, when keys are."""

_SERVICE: Final = "IAM Identity Center"
_TOKEN_HEADER: Final = "x-amz-sso_bearer_token"  # noqa: S105 - a header's name
_NO_CONTENT: Final = SecretBytes()
_ACCOUNT: Final = re.compile(r"[0-9]{1,20}")
_CODE: Final = re.compile(r"[A-Za-z_]{1,64}")
_REFUSALS: Final[dict[int, type[S3Error]]] = {403: AccessDenied, 404: NotFound, 429: Throttled}

log: logging.Logger = logging.getLogger("handtruck")


class SSOCredentials(RefreshingCredentials):
    """A role's keys, for the token that ``aws sso login`` has left in a file, refreshed ahead of their end.

    The token is read in a worker thread for each fetch. One that ends soon is replaced by a newer one where the file
    has what it takes to ask for that, and the file with it, atomically: only its owner may read it. If that fails, the
    old one is used while it lasts. Nobody is asked to sign on: that is the command line's business.

    Args:
        account_id: the account, twelve digits.
        role_name: the role there, as its permission set is called.
        start_url: of the portal; it names the token's file, unless there is a ``session``.
        sso_region: where the portal is.
        session: the name of the ``[sso-session]``; blank in the form of before there were any.
        region: the region to sign for; blank leaves it to other sources.
        cache_dir: the folder of the token's file; else ``~/.aws/sso/cache``.
        profile: which asks for it; only for what is to be done, in errors.
        portal: the service's URL; else ``AWS_ENDPOINT_URL_SSO`` (unless ``AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`` is
            ``true``), or AWS's in that region.
        oidc: the URL of the service that gives newer tokens; else ``AWS_ENDPOINT_URL_SSO_OIDC``, or AWS's there.
        timeout: seconds for each request; a failure on the other side is tried three times.
        clock: the time now, time-zone aware.
        environ: read instead of the process's environment (``~`` stays the process's home).

    Raises:
        UsageError: an argument is malformed.

    Source: https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html
    """

    def __init__(
        self,
        *,
        account_id: str,
        role_name: str,
        start_url: str,
        sso_region: str,
        session: str = "",
        region: str = "",
        cache_dir: str | os.PathLike[str] | None = None,
        profile: str = "",
        portal: str | None = None,
        oidc: str | None = None,
        timeout: float = TIMEOUT,
        clock: Callable[[], datetime] = utc_now,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(clock=clock)
        if not _ACCOUNT.fullmatch(account_id):
            raise UsageError("sso_account_id has to be an account's number")
        if not is_plain(role_name):
            raise UsageError("sso_role_name has to be a role's name")
        if not (session or start_url):
            raise UsageError("either an sso_session or an sso_start_url is needed")
        self._sso_region = check_region(sso_region)
        self._account_id, self._role_name = account_id, role_name
        self._start_url, self._session, self._profile = start_url, session, profile
        self._region = region
        self._cache_dir = cache_dir
        self._portal, self._oidc = portal, oidc
        self._timeout = timeout
        self._environ = environ
        self._unwritten: Token | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "_unwritten": None}

    @property
    def where(self) -> str:
        """In words."""
        return f"{_SERVICE}, role {self._role_name} in account {self._account_id}"

    async def _fetch(self, known: Credentials | None) -> Credentials:  # noqa: ARG002 - each fetch begins anew
        token = await self._token()
        query = urlencode({"role_name": self._role_name, "account_id": self._account_id})
        url = self._url(self._portal, "AWS_ENDPOINT_URL_SSO", "portal.sso") + "/federation/credentials?" + query
        status, body = await self._send("GET", url, Signature({_TOKEN_HEADER: token.access}))
        if status == 401:
            raise self._must_sign_on("the token is no longer good")
        if status != 200:
            raise refusal(status, body, "GetRoleCredentials", self.where)
        found = keys_in(body)
        if found is None:
            raise InvalidResponse(f"{self.where}: the answer has no whole temporary keys")
        return replace(found, region=self._region or None)

    async def _token(self) -> Token:
        """A token that has not ended, from the file or a newer one.

        Raises:
            UsageError: there is none; somebody has to sign on.
        """
        path = cache_path(self._folder(), self._session, self._start_url)
        token = await isolated(lambda: to_thread.run_sync(read_token, path))
        if token is None:
            raise self._must_sign_on(f"there is no token in {path}")
        if self._unwritten is not None and self._unwritten.expires_at > token.expires_at:
            token = self._unwritten
        left = token.expires_at - self._clock()
        if left > RENEW_AHEAD:
            return token
        if token.can_be_renewed(self._clock()):
            try:
                return await self._renew_token(token, path)
            except HandtruckError as error:
                newer = await isolated(lambda: to_thread.run_sync(read_token, path))
                if newer is not None and newer.access != token.access and newer.expires_at > self._clock():
                    return newer  # another process was faster
                if left <= timedelta(0):
                    raise
                log.warning("no newer token for %s: %s", self.where, error)
        if left <= timedelta(0):
            raise self._must_sign_on(f"the token in {path} has ended")
        return token

    async def _renew_token(self, token: Token, path: Path) -> Token:
        """Ask for a newer token, and put it into the file."""
        url = self._url(self._oidc, "AWS_ENDPOINT_URL_SSO_OIDC", "oidc") + "/token"
        form = Signature({"content-type": "application/json"})
        status, answer = await self._send("POST", url, form, renewal(token))
        if status in (400, 401):
            raise self._must_sign_on(f"a newer token was refused ({code_in(answer) or status})")
        if status != 200:
            raise refusal(status, answer, "CreateToken", _SERVICE)
        fresh = renewed(token, answer, self._clock())
        if fresh is None:
            raise InvalidResponse(f"{_SERVICE}: the answer to CreateToken has no whole token")
        try:
            await isolated(lambda: to_thread.run_sync(write_token, path, fresh))
        except OSError as error:  # it is good all the same
            log.warning("cannot keep the newer token in %s: %s", path, error.strerror)
            self._unwritten = fresh
        return fresh

    async def _send(
        self, method: str, url: str, headers: Signature, content: SecretBytes = _NO_CONTENT
    ) -> tuple[int, SecretBytes]:
        """One answer; that of the last try, if it is a failure each time."""
        send = partial(ask, method, url, service=_SERVICE, timeout=self._timeout, through_proxy=True)
        for pause in RETRY_PAUSES:
            try:
                status, body = await send(headers=headers, content=content)
            except ConnectionFailed:
                pass
            else:
                if status < 500 and status != 429:
                    return status, body
            await anyio.sleep(pause)
        return await send(headers=headers, content=content)

    def _url(self, given: str | None, variable: str, name: str) -> str:
        environ = environment(self._environ)
        ignored = environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").strip().lower() == "true"
        url = given or (None if ignored else environ.get(variable))
        if url:
            return url.rstrip("/")
        return f"https://{name}.{self._sso_region}.{partition_of(self._sso_region).suffix}"

    def _folder(self) -> Path:
        try:
            return Path(self._cache_dir or FOLDER).expanduser()
        except RuntimeError:
            raise self._must_sign_on("there is no home directory to look for the token") from None

    def _must_sign_on(self, why: str) -> UsageError:
        option = f" --profile {self._profile}" if self._profile else ""
        if self._session and not option:
            option = f" --sso-session {self._session}"
        return UsageError(f"{self.where}: {why}; sign on with: aws sso login{option}")


def renewal(token: Token) -> SecretBytes:
    """The request's body that asks for a newer token."""
    fields = {
        "clientId": token.client_id,
        "clientSecret": token.client_secret,
        "grantType": "refresh_token",
        "refreshToken": token.refresh,
    }
    return SecretBytes(json.dumps(fields).encode())


def keys_in(body: bytes) -> Credentials | None:
    """The keys in an answer; None if they are not whole. Raises nothing."""
    keys = (object_in(body) or {}).get("roleCredentials")
    if not isinstance(keys, dict):
        return None
    end = _date(keys.get("expiration"))
    return whole_keys(
        keys.get("accessKeyId"), keys.get("secretAccessKey"), keys.get("sessionToken"), end, temporary=True
    )


def _date(milliseconds: object) -> str | None:
    """A point in time as ISO 8601 has it, from milliseconds since 1970."""
    if not isinstance(milliseconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None


def code_in(body: bytes) -> str | None:
    """An error's code, as far as there is one. Its text may repeat what was sent."""
    document = object_in(body) or {}
    for name in ("__type", "code", "error"):
        code = document.get(name)
        if isinstance(code, str) and _CODE.fullmatch(code):
            return code
    return None


def refusal(status: int, body: bytes, operation: str, where: str) -> HandtruckError:
    """The exception that an answer other than 200 means."""
    code = code_in(body)
    if status >= 500 or status < 400:
        return InvalidResponse(f"{where}: {operation} was answered with status {status}")
    kind = _REFUSALS.get(status, S3Error)
    said = code or f"status {status}"
    return kind(f"{where}: {operation} was refused: {said}", status=status, code=code, operation=operation)
