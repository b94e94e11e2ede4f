"""AWS's Security Token Service: where it is, what is asked, and what the answers mean.

A request is a form, POSTed to ``/``; an answer is XML. Of an answer that makes no sense, and of an error's text that
repeats what was sent (as "the signature does not match" does), nothing is quoted.

Source: https://docs.aws.amazon.com/STS/latest/APIReference/CommonParameters.html
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import anyio
import httpx

from ..errors import AccessDenied, ConnectionFailed, InvalidResponse, S3Error, Throttled, TransferTimeout, UsageError
from ..protocol.documents.xml import parse_xml
from ..protocol.regions import GLOBAL, check_region, partition_of
from ..protocol.signing import Signature, sign
from .http import ask
from .whole import SecretBytes, whole_keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime
    from xml.etree.ElementTree import Element

    from ..models import Credentials

VERSION: Final = "2011-06-15"
TIMEOUT: Final = 10.0  # seconds for each request
RETRY_PAUSES: Final = (0.1, 0.4)  # seconds between the three tries that a failure on the other side gets
GLOBAL_REGION: Final = "us-east-1"
"""Where the service without a region of its own (``sts.amazonaws.com``) believes to be."""

_LEGACY: Final = re.compile(
    r"ap-(?:northeast-1|south-1|southeast-[12])|ca-central-1|eu-(?:central-1|north-1|west-[123])|sa-east-1|us-(?:ea|we)st-[12]"
)
_DUAL_STACK: Final = {
    "aws": "api.aws",
    "aws-cn": "api.amazonwebservices.com.cn",
    "aws-us-gov": "api.aws",
    "aws-eusc": "api.amazonwebservices.eu",
    "aws-iso": "api.aws.ic.gov",
    "aws-iso-b": "api.aws.scloud",
    "aws-iso-e": "api.cloud-aws.adc-e.uk",
    "aws-iso-f": "api.aws.hci.ic.gov",
}
"""What hosts that have addresses of IPv6, too, end in; by partition."""

_CODE: Final = re.compile(r"[A-Za-z0-9.]{1,64}")
_THROTTLED: Final = frozenset({"RequestLimitExceeded", "SlowDown", "Throttling", "ThrottlingException"})
_PASSING: Final = _THROTTLED | {"IDPCommunicationError"}
_REPEATING: Final = frozenset({"SignatureDoesNotMatch", "IncompleteSignature"})
_FORM: Final = "application/x-www-form-urlencoded; charset=utf-8"

log: logging.Logger = logging.getLogger("handtruck")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to send requests, and the region that they are signed for."""

    url: str
    region: str


def address_of(
    region: str | None,
    environ: Mapping[str, str],
    settings: Mapping[str, str] | None = None,
    services: Mapping[str, Mapping[str, str]] | None = None,
) -> Address:
    """The service's address, as AWS's tools find it.

    ``AWS_ENDPOINT_URL_STS``, else ``AWS_ENDPOINT_URL``, else the profile's ``services`` (``sts``), else its
    ``endpoint_url``, unless these are to be ignored (``AWS_IGNORE_CONFIGURED_ENDPOINT_URLS``); else AWS's host of the
    region; else, without a region, ``sts.amazonaws.com``. ``AWS_STS_REGIONAL_ENDPOINTS=legacy`` takes that one for
    the older regions, too. Dual-stack and FIPS hosts where ``AWS_USE_DUALSTACK_ENDPOINT`` and
    ``AWS_USE_FIPS_ENDPOINT`` say so.

    Args:
        region: the region, if it is known.
        environ: the environment.
        settings: the profile's.
        services: the profile's ``[services]`` section.

    Raises:
        UsageError: the region cannot be part of a host's name.
    """
    settings = settings or {}

    def setting(name: str) -> str:
        return (environ.get(f"AWS_{name.upper()}") or settings.get(name) or "").strip()

    def switched_on(name: str) -> bool:
        return setting(name).lower() == "true"

    if not switched_on("ignore_configured_endpoint_urls"):
        in_environment = environ.get("AWS_ENDPOINT_URL_STS") or environ.get("AWS_ENDPOINT_URL")
        in_profile = (services or {}).get("sts", {}).get("endpoint_url") or settings.get("endpoint_url")
        if url := in_environment or in_profile:
            return Address(url=url, region=region or GLOBAL_REGION)
    known = None if region is None or region == GLOBAL else check_region(region)
    fips, dual = switched_on("use_fips_endpoint"), switched_on("use_dualstack_endpoint")
    legacy = setting("sts_regional_endpoints").lower() == "legacy" and known is not None and _LEGACY.fullmatch(known)
    if (known is None or legacy) and not (fips or dual):
        return Address(url="https://sts.amazonaws.com", region=GLOBAL_REGION)
    known = known or GLOBAL_REGION
    return Address(url=f"https://{_host(known, fips=fips, dual=dual)}", region=known)


def _host(region: str, *, fips: bool, dual: bool) -> str:
    partition = partition_of(region)
    in_gov = partition.name == "aws-us-gov"  # whose plain hosts are FIPS's
    name = "sts-fips" if fips and (dual or not in_gov) else "sts"
    return f"{name}.{region}.{_DUAL_STACK[partition.name] if dual else partition.suffix}"


@dataclass(frozen=True, kw_only=True)
class SecurityTokenService:
    """The service at an address.

    Attributes:
        address: what :func:`address_of` found.
        timeout: seconds for each request, in all.
        clock: the time now, time-zone aware.
    """

    address: Address
    timeout: float
    clock: Callable[[], datetime]

    async def call(self, action: str, fields: Mapping[str, str], keys: Credentials | None = None) -> Credentials:
        """Ask for temporary keys.

        Args:
            action: the operation's name.
            fields: of the form.
            keys: sign with these; None: do not sign.

        Raises:
            UsageError: the address is no ``http://`` or ``https://`` URL.
            ConnectionFailed: there was no answer.
            S3Error: the service said no.
            InvalidResponse: it talked nonsense.
        """
        url = _parse(self.address.url)
        body = SecretBytes(urlencode({"Action": action, "Version": VERSION, **fields}).encode())
        status, answer = await self._patiently(partial(self._send, url, body, keys, action))
        if status != 200:
            secrets = [fields.get(name) for name in ("WebIdentityToken", "TokenCode")]
            secrets += [keys.secret_access_key, keys.session_token] if keys else []
            raise failure(status, answer, f"{action} {fields.get('RoleArn', '')} at {url.host}", action, secrets)
        found = parse_keys(answer)
        if found is None:
            raise InvalidResponse(f"the Security Token Service's answer to {action} has no whole temporary keys")
        return found

    async def _patiently(self, send: Callable[[], Awaitable[tuple[int, SecretBytes]]]) -> tuple[int, SecretBytes]:
        """The first answer that does not pass; the last one, if there is none such."""
        for pause in RETRY_PAUSES:
            try:
                status, answer = await send()
            except TransferTimeout:
                raise
            except ConnectionFailed as error:
                log.debug("%s; once more in %g s", error, pause)
            else:
                if not is_passing(status, answer):
                    return status, answer
            await anyio.sleep(pause)
        return await send()

    async def _send(
        self, url: httpx.URL, body: SecretBytes, keys: Credentials | None, action: str
    ) -> tuple[int, SecretBytes]:
        path = url.raw_path.decode("ascii").partition("?")[0] or "/"
        headers = [("content-type", _FORM)]
        signature: Mapping[str, str] = {}
        if keys is not None:
            signature = sign(
                method="POST",
                path=path,
                query=(),
                headers=[("host", url.netloc.decode("ascii")), *headers],
                payload_hash=hashlib.sha256(body).hexdigest(),
                credentials=keys,
                region=self.address.region,
                now=self.clock(),
                service="sts",
            )
        return await ask(
            "POST",
            str(url.copy_with(query=None)),
            service="the Security Token Service",
            headers=Signature({**dict(headers), **signature}),
            content=body,
            timeout=self.timeout,
            through_proxy=True,
            what=action,
        )


def _parse(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise UsageError("the Security Token Service's endpoint has to be an http:// or https:// URL without a user")
    return url


def parse_keys(body: bytes) -> Credentials | None:
    """The keys in an answer; None if they are not whole. Raises nothing."""
    root = _root(body)
    keys = None if root is None else root.find(".//Credentials")
    if keys is None:
        return None
    return whole_keys(
        keys.findtext("AccessKeyId"),
        keys.findtext("SecretAccessKey"),
        keys.findtext("SessionToken"),
        keys.findtext("Expiration"),
        temporary=True,
    )


def _root(body: bytes) -> Element | None:
    """An answer's XML, or None: the parser's error would hold the body."""
    try:
        return parse_xml(body)
    except InvalidResponse:
        return None


def parse_refusal(body: bytes) -> tuple[str | None, str | None, str | None]:
    """An error's code, message and request id, as far as there are any. Raises nothing."""
    root = _root(body)
    if root is None:
        return None, None, None
    error = root if root.tag == "Error" else root.find(".//Error")
    if error is None:
        return None, None, None
    code = (error.findtext("Code") or "").strip()
    message = " ".join((error.findtext("Message") or "").split())[:500]
    request_id = (root.findtext(".//RequestId") or "")[:100]
    return code if _CODE.fullmatch(code) else None, message or None, request_id or None


def is_passing(status: int, body: bytes) -> bool:
    """Whether it may be answered otherwise in a moment."""
    return status >= 500 or (status >= 400 and parse_refusal(body)[0] in _PASSING)


def failure(status: int, body: SecretBytes, doing: str, action: str, secrets: list[str | None]) -> S3Error:
    """The exception that an answer other than 200 means."""
    code, message, request_id = parse_refusal(body)
    if message and (code in _REPEATING or any(secret and secret in message for secret in secrets)):
        message = None  # it repeats the request
    kind: type[S3Error] = S3Error
    if status == 429 or code in _THROTTLED:
        kind = Throttled
    elif status in (401, 403):
        kind = AccessDenied
    said = ": ".join(part for part in (code, message) if part) or f"status {status}, without a word"
    return kind(f"{doing}: {said}", status=status, code=code, message=message, request_id=request_id, operation=action)
