"""EC2's instance metadata service: what is asked, and what the answers mean.

Version 2 first asks for a session token (PUT), version 1 does without one. Then: the role's name, the role's
keys (JSON), the instance's region (JSON). Whoever answers at that address is not trusted: names, keys and
dates are checked before they are used, answers are bounded in size and time, redirects are not followed.

Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import anyio

from ..errors import ConnectionFailed, HandtruckError, InvalidResponse, TransferTimeout, UsageError
from ..models.identity import Secret
from ..protocol.signing import Signature
from .answers import keys_in, region_in
from .http import ask, usable
from .whole import is_plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from ..models import Credentials
    from .whole import SecretBytes

DEFAULT_ENDPOINT: Final = "http://169.254.169.254"
IPV6_ENDPOINT: Final = "http://[fd00:ec2::254]"
RETRY_PAUSES: Final = (0.1, 0.4)  # seconds between the three tries that an answer of 5xx gets

_SERVICE: Final = "the metadata service"
_TOKEN_PATH: Final = "/latest/api/token"  # noqa: S105 - a path
_ROLE_PATH: Final = "/latest/meta-data/iam/security-credentials/"
_REGION_PATH: Final = "/latest/dynamic/instance-identity/document"
_TOKEN_SECONDS: Final = Signature({"x-aws-ec2-metadata-token-ttl-seconds": "300"})  # longer than one fetch can take
_TOKEN_HEADER: Final = "x-aws-ec2-metadata-token"  # noqa: S105 - a header's name
_REFUSED: Final = (403, 404, 405)
_ROLE_NAME: Final = re.compile(r"(?!\.\.?$)[A-Za-z0-9+=,.@_-]{1,128}")


class AbsentError(Exception):
    """No metadata service here, or no role. Its text says why, and fits after a colon."""


def parse_endpoint(text: str) -> httpx.URL:
    """The service's address.

    Raises:
        UsageError: it is no ``http://`` URL (the service has no other).
    """
    url = usable(Secret(text))
    if url is None or url.scheme != "http":
        raise UsageError("the metadata service's endpoint has to be an http:// URL")
    return url


@dataclass(frozen=True, kw_only=True)
class MetadataService:
    """The service at an address.

    Attributes:
        endpoint: what :func:`parse_endpoint` gave.
        timeout: seconds for each request, in all.
        attempts: how often a request is sent that nobody answers.
        allow_v1: go on without a token where the service refuses one, or does not answer that request.
    """

    endpoint: httpx.URL
    timeout: float
    attempts: int = 1
    allow_v1: bool = False

    async def fetch(self, region: str | None) -> Credentials:
        """The role's keys.

        Args:
            region: the instance's region, if it is known; otherwise it is asked for, and may stay unknown.

        Raises:
            AbsentError: there is no service, or no role.
            ConnectionFailed: the service stopped answering.
            InvalidResponse: it answered nonsense, or failed (5xx) three times.
        """
        headers = await self._token()
        role = await self._role(headers)
        found = parse_credentials(await self._get(_ROLE_PATH + role, headers))
        return replace(found, region=region or await self._region(headers))

    async def _token(self) -> Signature:
        """The headers that every further request needs: none for version 1."""
        try:
            status, body = await self._send("PUT", _TOKEN_PATH, _TOKEN_SECONDS)
        except ConnectionFailed as error:
            if self.allow_v1 and isinstance(error, TransferTimeout):
                return Signature()
            raise AbsentError(self._silence(error)) from error
        if status not in _REFUSED:
            return Signature({_TOKEN_HEADER: parse_token(status, body)})
        if self.allow_v1:
            return Signature()
        raise AbsentError(f"it refused a session token ({status}); version 1 is not used (allow_v1=True)")

    def _silence(self, error: ConnectionFailed) -> str:
        if isinstance(error, TransferTimeout):
            return f"nobody answered at {self._host} within {self.timeout:g} s"
        return f"nobody answers at {self._host}"

    @property
    def _host(self) -> str:
        return self.endpoint.netloc.decode("ascii")

    async def _role(self, headers: Signature) -> str:
        try:
            status, body = await self._send("GET", _ROLE_PATH, headers)
        except ConnectionFailed as error:
            if headers:
                raise
            raise AbsentError(self._silence(error)) from error  # nobody has answered anything so far
        if status == 404 or (status == 200 and not body.strip()):
            raise AbsentError("the instance has no role")
        return parse_role(status, body)

    async def _region(self, headers: Signature) -> str | None:
        try:
            return parse_region(await self._get(_REGION_PATH, headers))
        except HandtruckError:
            return None

    async def _get(self, path: str, headers: Signature) -> SecretBytes:
        status, body = await self._send("GET", path, headers)
        _require_ok(status, path)
        return body

    async def _send(self, method: str, path: str, headers: Signature) -> tuple[int, SecretBytes]:
        for pause in RETRY_PAUSES:
            status, body = await self._send_once(method, path, headers)
            if status < 500:
                return status, body
            await anyio.sleep(pause)
        status, body = await self._send_once(method, path, headers)
        if status >= 500:
            _require_ok(status, path)
        return status, body

    async def _send_once(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, SecretBytes]:
        url = str(self.endpoint).rstrip("/") + path
        for _ in range(self.attempts - 1):
            try:
                return await ask(method, url, service=_SERVICE, headers=headers, timeout=self.timeout)
            except ConnectionFailed:
                continue
        return await ask(method, url, service=_SERVICE, headers=headers, timeout=self.timeout)


def parse_token(status: int, body: bytes) -> Secret:
    """The session token.

    Raises:
        InvalidResponse: another status than 200, or not plain text.
    """
    _require_ok(status, _TOKEN_PATH)
    token = Secret(body.decode("ascii", "replace").strip())
    if not is_plain(token):
        raise InvalidResponse("the metadata service's session token is missing or not plain text")
    return token


def parse_role(status: int, body: bytes) -> str:
    """The name of the instance's role; the first, if there are several.

    Raises:
        InvalidResponse: another status than 200, or not a name that IAM allows (it becomes part of a path).
    """
    _require_ok(status, _ROLE_PATH)
    name = body.decode("ascii", "replace").split("\n", 1)[0].strip()
    if not _ROLE_NAME.fullmatch(name):
        raise InvalidResponse("the metadata service gave a role name that IAM does not allow")
    return name


def parse_credentials(body: bytes) -> Credentials:
    """The role's keys.

    Raises:
        InvalidResponse: not JSON, a ``Code`` that is no success, a field that is missing or malformed.
    """
    found = keys_in(body)
    if isinstance(found, str):
        raise InvalidResponse(f"the metadata service's answer makes no sense: {found}")
    return found


def parse_region(body: bytes) -> str:
    """The region in an instance identity document.

    Raises:
        InvalidResponse: not JSON, or no region in it.
    """
    region = region_in(body)
    if region is None:
        raise InvalidResponse("the metadata service's identity document has no region")
    return region


def _require_ok(status: int, path: str) -> None:
    if status != 200:
        raise InvalidResponse(f"the metadata service answered {status} to {path}")
