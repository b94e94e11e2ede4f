"""Where a request goes: endpoint + object name → host and raw target.

The only percent-encoding of the package happens here. S3's canonical URI is one encoding of the raw key, with no
normalising: what is built here is what is signed and what is sent, byte for byte.

* The target is the endpoint's path joined with the object name. Nothing ever moves the bucket about.
* Which part of it *is* the bucket matters for errors, listings and copies only. It is, in this order: what
  ``bucket=`` and ``addressing=`` say, the last segment of the URL's path, the label AWS's hosts begin with, the
  first segment of the name.
* Names that are not text survive: what ``surrogateescape`` decoded (a listing, ``os.fsdecode``) is encoded back.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html (canonical URI),
https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html, RFC 3986.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit

from ..errors import UsageError
from .arns import is_arn, parse_arn, split_arn
from .regions import parse_aws_host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .hosts import Hosts

Addressing = Literal["auto", "path", "virtual"]
"""Where the bucket stands: found out, in the URL's path or the name, or in the host."""

Query = tuple[tuple[str, str | None], ...]
"""Names and values, not encoded. None stands for a sub-resource without a value (``?uploads``)."""

_LOOPBACK: Final = re.compile(r"(?:.+\.)?localhost|127(?:\.\d+){3}|::1")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9\-_.~/]*")
_NO_BUCKET: Final = re.compile(r"\.{0,2}|\s.*|.*\s|.*[/?#\x00-\x1f\x7f].*", re.DOTALL)
_WRITTEN_AS: Final = "http://HOST, https://HOST:PORT or https://HOST/BUCKET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """One place on the server: the encoded path that is signed and sent, and what it means.

    Attributes:
        bucket: None where it cannot be known.
        key: the whole of it; empty where the name has none.
        prefix: what the keys that callers speak of begin with, beside their names: see :class:`Endpoint`.
    """

    path: str
    bucket: str | None
    key: str
    prefix: str = ""

    @property
    def name(self) -> str:
        """The key, as callers call it."""
        return self.key.removeprefix(self.prefix)

    def below(self, name: str) -> Location:
        """Where an object of this bucket is; ``name`` is what callers call it.

        Raises:
            UsageError: the name cannot be encoded.
        """
        key = self.prefix + name
        return Location(path=self.path + encode_path(key), bucket=self.bucket, key=key, prefix=self.prefix)

    def __str__(self) -> str:
        """``bucket/key``, for people."""
        return "/".join(part for part in (self.bucket, self.key) if part) or "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A parsed endpoint: where the server is and what its URL says about the bucket.

    Attributes:
        origin: ``scheme://host[:port]``, never a user or a password; empty as long as nobody knows. With ``hosts``,
            what stands for all of them.
        path: percent-encoded, without a trailing slash; mostly empty.
        bucket: the bucket the URL itself names, or None.
        fixed: True where every name is a key of one bucket (which may be unknown by name).
        region: the region an AWS host names, or None.
        aws: the host is one of AWS's.
        prefix: what every key begins with, beside the name; with its ``/``.
        hosts: where requests go, by bucket and region; None: all to the origin. With it paths begin with the bucket.
    """

    origin: str
    path: str
    bucket: str | None
    fixed: bool
    region: str | None
    aws: bool = False
    prefix: str = ""
    hosts: Hosts | None = None

    @property
    def secure(self) -> bool:
        """The road is https."""
        return self.origin.startswith("https:")

    @property
    def private(self) -> bool:
        """Nobody listens: the road is https, or does not leave this machine."""
        if not self.origin:
            return True  # nothing is sent yet; it is looked at again before each request
        return self.secure or _LOOPBACK.fullmatch(urlsplit(self.origin).hostname or "") is not None

    @property
    def authority(self) -> str:
        """``host[:port]``, for messages."""
        return self.origin.partition("//")[2] or "S3"

    def url_of(self, location: Location) -> str:
        """What a place is called in records and messages: not where a request goes, which may depend on the region."""
        return f"{self.origin}{self.hosts.path if self.hosts else ''}{location.path}"

    def locate(self, name: str) -> Location:
        """Where the object called ``name`` lives.

        One leading slash is dropped where the bucket is part of the name; elsewhere it belongs to the key.

        Raises:
            UsageError: the name cannot be encoded.
        """
        if self.fixed:
            key = self.prefix + name
            return Location(path=f"{self.path}/{encode_path(key)}", bucket=self.bucket, key=key, prefix=self.prefix)
        name = name.removeprefix("/")
        if ":" in name and is_arn(name):
            bucket, key = split_arn(name)
            return Location(path=f"{self.path}/{encode_path(f'{bucket}/{key}')}", bucket=bucket, key=key)
        bucket, slash, key = name.partition("/")
        path = f"{self.path}/{encode_path(name)}"
        if not slash and self.origin and not self.aws and self.hosts is None:
            # It may be a bucket, or a key of a bucket that stands in a host we do not know.
            return Location(path=path, bucket=None, key=name)
        return Location(path=path, bucket=bucket or None, key=key)

    def locate_bucket(self, name: str = "/", bucket: str | None = None) -> Location:
        """Where a bucket's own requests (listings) go: ``bucket``, or the one in ``name`` or in the URL.

        Raises:
            UsageError: no bucket is named, two different ones are, or the name goes on after the bucket.
        """
        name = name.strip("/")
        if self.fixed:
            if name not in ("", self.bucket) or (bucket and self.bucket and bucket != self.bucket):
                raise UsageError(
                    f"the endpoint {self.origin}{self.path} is one bucket's, so {bucket or name!r} cannot be listed; "
                    "use prefix= for a part of it, or a client whose URL has no bucket"
                )
            return Location(path=f"{self.path}/", bucket=bucket or self.bucket, key="", prefix=self.prefix)
        wanted = bucket or name
        if not wanted:
            raise UsageError("no bucket to list: give bucket=, or its name as the first argument")
        if name and name != wanted:
            raise UsageError(f"bucket={bucket!r}, but the first argument names {name!r}; list a bucket with prefix=")
        if "/" in wanted:
            raise UsageError(f"{wanted!r} is more than a bucket's name; list the bucket with prefix=")
        return Location(path=f"{self.path}/{encode_path(wanted)}/", bucket=wanted, key="")


def parse_endpoint(url: str, *, bucket: str | None = None, addressing: Addressing = "auto") -> Endpoint:
    """Understand the URL of an endpoint; its user and password are not looked at.

    Raises:
        UsageError: it is no http(s) URL, has a query or a fragment, or does not go with ``bucket``.
    """
    parts = _split(url)
    path = _base_path(parts.path)
    host = parts.hostname or ""
    aws = parse_aws_host(host)
    port = f":{parts.port}" if parts.port is not None else ""
    named, fixed = _bucket_of(host, path, aws.bucket if aws else None, bucket, addressing)
    return Endpoint(
        origin=f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}",
        path=path,
        bucket=named,
        fixed=fixed,
        region=aws.region if aws else None,
        aws=aws is not None,
    )


def check_bucket(bucket: object) -> str:
    """A bucket's name as callers may give it; of an access point's ARN, the one that is a segment of a path.

    Servers have names that AWS has not (capitals, ``_``, ``tenant:name``). What is refused here is no name anywhere,
    or would be another place in a path.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(bucket, str):
        raise UsageError(f"bucket must be text, not {type(bucket).__name__}")
    if not bucket:
        raise UsageError("bucket='' names none (a variable that is empty?): give its name, or leave bucket= out")
    if is_arn(bucket):
        parse_arn(bucket)
        return split_arn(bucket)[0]
    if not _may_be_bucket(bucket):
        raise UsageError(
            f"{bucket!r:.80} is no bucket's name: give the name alone, without / ? # and white space around it"
        )
    return bucket


def check_addressing(addressing: object) -> None:
    """One of :data:`Addressing`.

    Raises:
        UsageError: it is not.
    """
    if addressing not in ("auto", "path", "virtual"):
        raise UsageError(f"addressing must be 'auto', 'path' or 'virtual', not {addressing!r:.40}")


def _may_be_bucket(name: str) -> bool:
    if _NO_BUCKET.fullmatch(name):
        return False
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def has_userinfo(url: str) -> bool:
    """The URL has a user, and perhaps a password."""
    return "@" in _split(url).netloc


def _split(url: str) -> SplitResult:
    """Cut a URL up, without ever repeating it in an error: it may hold a password."""
    try:
        parts = urlsplit(url)
        usable, port = bool(parts.hostname), parts.port
    except ValueError:
        raise UsageError(
            f"the endpoint URL cannot be understood; write {_WRITTEN_AS}, and in a user or a password "
            "the characters / ? # @ : as %2F %3F %23 %40 %3A"
        ) from None
    if parts.scheme not in ("http", "https"):
        raise UsageError(f"the endpoint URL must begin with http:// or https://; write {_WRITTEN_AS}")
    if not usable or port == 0 or any(c.isspace() for c in parts.netloc):
        raise UsageError(f"the endpoint URL names no usable host and port; write {_WRITTEN_AS}")
    if "@" in parts.path:
        raise UsageError("the endpoint URL has an @ after its host: write / in a user or a password as %2F")
    if parts.query or parts.fragment:
        raise UsageError("the endpoint URL must have no ?query and no #fragment; use params= on the call")
    return parts


def _base_path(path: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", path):
        raise UsageError(f"the path of the endpoint URL, {path!r}, has a % that is not followed by two hex digits")
    try:
        return quote(path, safe="/%-_.~", errors="surrogateescape").rstrip("/")
    except UnicodeEncodeError:
        raise UsageError(f"the path of the endpoint URL, {path!r}, cannot be encoded as UTF-8") from None


def _bucket_of(
    host: str, path: str, aws_bucket: str | None, bucket: str | None, addressing: Addressing
) -> tuple[str | None, bool]:
    """The bucket that the URL names, and whether every name is a key of it."""
    check_addressing(addressing)
    bucket = None if bucket is None else check_bucket(bucket)
    in_path = unquote(path.rpartition("/")[2], errors="surrogateescape") or None
    if addressing == "virtual":
        if bucket and aws_bucket and bucket != aws_bucket:
            raise UsageError(f"bucket={bucket!r}, but the host of the endpoint URL is that of {aws_bucket!r}")
        return bucket or aws_bucket or _first_label(host), True
    if in_path:
        if not _may_be_bucket(in_path):
            raise UsageError(f"the path of the endpoint URL ends in {in_path!r:.80}, which is no bucket's name")
        if bucket and bucket != in_path:
            raise UsageError(f"bucket={bucket!r}, but the path of the endpoint URL ends in {in_path!r}")
        return in_path, True
    if addressing == "auto" and aws_bucket:
        if bucket and bucket != aws_bucket:
            raise UsageError(f"bucket={bucket!r}, but the host of the endpoint URL is that of {aws_bucket!r}")
        return aws_bucket, True
    if bucket is None:
        return None, False
    if addressing == "auto" and (host == bucket or host.startswith(f"{bucket}.")):
        return bucket, True
    raise UsageError(
        f"bucket={bucket!r} stands neither in the host nor in the path of the endpoint URL: add it to the path "
        f"(…/{bucket}), or say addressing='virtual' if the host is the bucket's own"
    )


def _first_label(host: str) -> str | None:
    """What stands before the first dot; an address, or a name without a dot, names no bucket."""
    label, dot, rest = host.partition(".")
    return label if dot and ":" not in host and not rest.replace(".", "").isdigit() and label != "s3" else None


def encode_path(name: str) -> str:
    """Percent-encode an object name once: everything but ``A–Z a–z 0–9 - _ . ~ /``.

    Raises:
        UsageError: the name has a surrogate that stands for no byte.
    """
    if _UNRESERVED.fullmatch(name):
        return name
    try:
        return quote(name, safe="/", errors="surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"the object name {name!r} cannot be encoded as UTF-8") from None


def _encode(text: str) -> str:
    try:
        return quote(text, safe="", errors="surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"the query parameter {text!r} cannot be encoded as UTF-8") from None


def canonical_query(query: Sequence[tuple[str, str | None]]) -> str:
    """The query as it is signed: encoded, sorted by name and then by value, every name with its ``=``."""
    if not query:
        return ""
    return "&".join(f"{name}={value}" for name, value in sorted((_encode(n), _encode(v or "")) for n, v in query))


def wire_query(query: Sequence[tuple[str, str | None]]) -> str:
    """The query as it is sent: like the signed one, but a name without a value stands bare (``?uploads``)."""
    if not query:
        return ""
    encoded = sorted((_encode(n), "" if v is None else f"={_encode(v)}") for n, v in query)
    return "&".join(name + value for name, value in encoded)
