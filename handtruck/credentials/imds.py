"""EC2's instance metadata service: what is asked, and what the answers mean.

Version 2 first asks for a session token (PUT), version 1 does without one. Then: the role's name, the role's
keys (JSON), the instance's region (JSON). Whoever answers at that address is not trusted: names, keys and
dates are checked before they are used, answers are bounded in size and time, redirects are not followed.

Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
"""

from __future__ import annotations

import json
import re
import ssl
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

import anyio
import httpx

from ..errors import ConnectionFailed, HandtruckError, InvalidResponse, TransferTimeout, UsageError
from ..models import Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ENDPOINT: Final = "http://169.254.169.254"
RETRY_PAUSES: Final = (0.1, 0.4)  # seconds between the three tries that an answer of 5xx gets

_TOKEN_PATH: Final = "/latest/api/token"  # noqa: S105 - a path
_ROLE_PATH: Final = "/latest/meta-data/iam/security-credentials/"
_REGION_PATH: Final = "/latest/dynamic/instance-identity/document"
_TOKEN_SECONDS: Final = {"x-aws-ec2-metadata-token-ttl-seconds": "300"}  # longer than one fetch can take
_TOKEN_HEADER: Final = "x-aws-ec2-metadata-token"  # noqa: S105 - a header's name
_REFUSED: Final = (403, 404, 405)
_LARGEST_ANSWER: Final = 65536
_ROLE_NAME: Final = re.compile(r"(?!\.\.?$)[A-Za-z0-9+=,.@_-]{1,128}")
_CODE: Final = re.compile(r"[A-Za-z]{1,64}")


class _AbsentError(Exception):
    """No metadata service here, or no role."""


def parse_endpoint(text: str) -> httpx.URL:
    """The service's address.

    Raises:
        UsageError: it is no ``http://`` URL (the service has no other).
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme != "http" or not url.host:
        raise UsageError("the metadata service's endpoint has to be an http:// URL")
    return url


def open_client(endpoint: httpx.URL) -> httpx.AsyncClient:
    """Connections for one fetch: no proxies, no redirects, and no CA bundle to load (there is no TLS)."""
    no_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    transport = httpx.AsyncHTTPTransport(verify=no_tls, trust_env=False)
    return httpx.AsyncClient(
        transport=transport,
        base_url=endpoint,
        trust_env=False,
        timeout=None,  # noqa: S113 - the service gives each request a deadline, which httpx cannot
    )


@dataclass(frozen=True, kw_only=True)
class MetadataService:
    """One conversation with the service.

    Attributes:
        http: what :func:`open_client` gave.
        timeout: seconds for each request, in all.
        allow_v1: go on without a token where the service refuses one, or does not answer that request.
    """

    http: httpx.AsyncClient
    timeout: float
    allow_v1: bool

    async def fetch(self, region: str | None) -> Credentials:
        """The role's keys; blank where there is no service, or no role.

        Args:
            region: the instance's region, if it is known; otherwise it is asked for, and may stay unknown.

        Raises:
            ConnectionFailed: the service stopped answering.
            InvalidResponse: it answered nonsense, or failed (5xx) three times.
        """
        try:
            headers = await self._token()
            role = await self._role(headers)
        except _AbsentError:
            return Credentials()
        found = parse_credentials(await self._get(_ROLE_PATH + role, headers))
        return replace(found, region=region or await self._region(headers))

    async def _token(self) -> dict[str, str]:
        """The headers that every further request needs: none for version 1."""
        try:
            status, body = await self._send("PUT", _TOKEN_PATH, _TOKEN_SECONDS)
        except ConnectionFailed as error:
            if self.allow_v1 and isinstance(error, TransferTimeout):
                return {}
            raise _AbsentError from error
        if status not in _REFUSED:
            return {_TOKEN_HEADER: parse_token(status, body)}
        if self.allow_v1:
            return {}
        raise _AbsentError

    async def _role(self, headers: Mapping[str, str]) -> str:
        try:
            status, body = await self._send("GET", _ROLE_PATH, headers)
        except ConnectionFailed as error:
            if headers:
                raise
            raise _AbsentError from error  # nobody has answered anything so far
        if status == 404 or (status == 200 and not body.strip()):
            raise _AbsentError
        return parse_role(status, body)

    async def _region(self, headers: Mapping[str, str]) -> str | None:
        try:
            return parse_region(await self._get(_REGION_PATH, headers))
        except HandtruckError:
            return None

    async def _get(self, path: str, headers: Mapping[str, str]) -> bytes:
        status, body = await self._send("GET", path, headers)
        _require_ok(status, path)
        return body

    async def _send(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        for pause in RETRY_PAUSES:
            status, body = await self._send_once(method, path, headers)
            if status < 500:
                return status, body
            await anyio.sleep(pause)
        status, body = await self._send_once(method, path, headers)
        if status >= 500:
            _require_ok(status, path)
        return status, body

    async def _send_once(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        request = self.http.build_request(method, path, headers={"accept-encoding": "identity", **headers})
        try:
            with anyio.fail_after(self.timeout):
                return await self._exchange(request)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise TransferTimeout(f"the metadata service did not answer {method} {path}", sent=False) from error
        except httpx.TransportError as error:
            raise ConnectionFailed(f"no answer from the metadata service to {method} {path}", sent=False) from error

    async def _exchange(self, request: httpx.Request) -> tuple[int, bytes]:
        response = await self.http.send(request, stream=True)
        try:
            body = b""
            async for chunk in response.aiter_raw():  # to its end: httpx leaks the generators of a loop left early
                body = (body + chunk)[: _LARGEST_ANSWER + 1]
        finally:
            await response.aclose()
        if len(body) > _LARGEST_ANSWER:
            raise InvalidResponse(f"the metadata service's answer is longer than {_LARGEST_ANSWER} bytes")
        return response.status_code, body


def parse_token(status: int, body: bytes) -> str:
    """The session token.

    Raises:
        InvalidResponse: another status than 200, or not plain text.
    """
    _require_ok(status, _TOKEN_PATH)
    return _plain(body.decode("ascii", "replace").strip(), "session token")


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
    document = _object(body, "credentials")
    code = document.get("Code", "Success")
    if code != "Success":
        named = code if isinstance(code, str) and _CODE.fullmatch(code) else "an unreadable code"
        raise InvalidResponse(f"the metadata service has no keys for the role: {named}")
    return Credentials(
        access_key_id=_plain(document.get("AccessKeyId"), "AccessKeyId"),
        secret_access_key=_plain(document.get("SecretAccessKey"), "SecretAccessKey"),
        session_token=_plain(document.get("Token"), "Token"),
        expires_at=_date(_plain(document.get("Expiration"), "Expiration")),
    )


def parse_region(body: bytes) -> str:
    """The region in an instance identity document.

    Raises:
        InvalidResponse: not JSON, or no region in it.
    """
    return _plain(_object(body, "identity document").get("region"), "region")


def _require_ok(status: int, path: str) -> None:
    if status != 200:
        raise InvalidResponse(f"the metadata service answered {status} to {path}")


def _object(body: bytes, what: str) -> dict[str, object]:
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        document = None  # raised below: the parser's error holds the whole document
    if not isinstance(document, dict):
        raise InvalidResponse(f"the metadata service's {what} are not a JSON object")
    return cast("dict[str, object]", document)


def _plain(value: object, what: str) -> str:
    """A text that can be sent in a header."""
    if not (isinstance(value, str) and value and value.isascii() and value.isprintable()):
        raise InvalidResponse(f"the metadata service's {what} is missing or not plain text")
    return value


def _date(text: str) -> datetime:
    try:
        date = datetime.fromisoformat(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # raised below: the parser's error quotes the text
    raise InvalidResponse("the metadata service's Expiration is not a date")
