"""Forms that browsers send to S3: the policy says what they may say, and is signed.

S3 refuses a form with a field that no condition speaks of, so each field brings its condition along.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html,
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict, TypeGuard, get_args
from urllib.parse import urlsplit

from ..errors import UsageError
from ..models.encryption import SSEKMS, SSES3, SSECustomer
from ..models.identity import Secret
from ..models.presigning import PresignedPost
from .documents.configuration import write_tags
from .options import CannedACL, StorageClass, WriteOptions, write_headers
from .parts import MAX_PART_SIZE
from .signing import ALGORITHM

if TYPE_CHECKING:
    from .address import Location
    from .presigning import Signer

FILE_NAME: Final = "${filename}"
"""S3 puts the name of the sender's file in its place."""

PostStatus: TypeAlias = Literal[200, 201, 204]
"""What S3 answers to a form that it took: 200 and 204 without a body, 201 with a document."""

_OURS: Final = frozenset(
    {
        "bucket",
        "content-length-range",
        "file",
        "key",
        "policy",
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-signature",
    }
)
_CUSTOMER_KEY: Final = "x-amz-server-side-encryption-customer-key"


class PostOptions(TypedDict, total=False):
    """What an object that comes by a form may be, under the names of :class:`~handtruck.WriteOptions`.

    Keys:
        content_type: MIME type, exactly; see ``starts_with`` for a choice.
        metadata: names and values of yours.
        tags: at most 10.
        cache_control, content_disposition, content_encoding: the headers of that name.
        website_redirect_location: where a bucket's website sends who asks for it.
        storage_class: S3's, or the server's own.
        acl: a ready-made access control list.
        sse: how it is encrypted; a key of your own (SSE-C) has no place in a form.
    """

    content_type: str
    metadata: Mapping[str, str]
    tags: Mapping[str, str]
    cache_control: str
    content_disposition: str
    content_encoding: str
    website_redirect_location: str
    storage_class: StorageClass | str
    acl: CannedACL
    sse: SSES3 | SSEKMS


@dataclass(frozen=True, slots=True, kw_only=True)
class PostPolicy:
    """What a form may say, before it is signed.

    Attributes:
        bucket: the bucket, by name.
        key: the key, or what it begins with followed by :data:`FILE_NAME`.
        fields: what it says, exactly.
        open_fields: what its sender fills in, and what each value begins with.
        size: bytes that the file must have, both included; None: up to S3's 5 GiB.
    """

    bucket: str
    key: str
    fields: Mapping[str, str] = field(default_factory=dict)
    open_fields: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None

    @property
    def conditions(self) -> list[Any]:
        """All of it as S3's conditions."""
        said: list[Any] = [{name: value} for name, value in self.fields.items()]
        said += [["starts-with", f"${name}", value] for name, value in self.open_fields.items()]
        if self.size is not None:
            said.append(["content-length-range", *self.size])
        said.append({"bucket": self.bucket})
        if self.key.endswith(FILE_NAME):
            said.append(["starts-with", "$key", self.key.removesuffix(FILE_NAME)])
        else:
            said.append({"key": self.key})
        return said


def new_policy(
    location: Location,
    *,
    min_size: int | None = None,
    max_size: int | None = None,
    redirect: str | None = None,
    status: PostStatus | None = None,
    fields: Mapping[str, str] | None = None,
    starts_with: Mapping[str, str] | None = None,
    options: PostOptions | None = None,
) -> PostPolicy:
    """What the arguments of :meth:`handtruck.S3Client.presign_post` mean.

    Raises:
        UsageError: S3 would refuse the form, or take more than was meant.
    """
    said = [*_fields("fields", fields), *_of_options(options or {}), *_afterwards(redirect, status)]
    open_fields = _fields("starts_with", starts_with)
    _check_names([name for name, _ in (*said, *open_fields)])
    if any(name.lower().startswith(_CUSTOMER_KEY) for name, _ in said):
        raise UsageError(
            "a customer's encryption key would stand in the form, for all its users to read: let them fill in their "
            "own, by starts_with="
        )
    bucket, key = _place(location)
    return PostPolicy(
        bucket=bucket,
        key=key,
        fields=dict(said),
        open_fields=dict(open_fields),
        size=_size(min_size, max_size),
    )


def sign_post(signer: Signer, *, url: str, policy: PostPolicy, seconds: int) -> PresignedPost:
    """The form, with its policy and its signature in it.

    Args:
        signer: see :class:`~handtruck.protocol.presigning.Signer`.
        url: the bucket's.
        policy: what it may say.
        seconds: see :func:`~handtruck.protocol.presigning.seconds_of`.
    """
    ours = {"x-amz-algorithm": ALGORITHM, "x-amz-credential": signer.credential, "x-amz-date": signer.stamp}
    if signer.credentials.session_token:
        ours["x-amz-security-token"] = Secret(signer.credentials.session_token)
    end = signer.now.astimezone(UTC) + timedelta(seconds=seconds)
    document = {
        "expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "conditions": [*policy.conditions, *({name: value} for name, value in ours.items())],
    }
    encoded = Secret(b64encode(json.dumps(document).encode()).decode())
    return PresignedPost(
        url=url,
        fields={
            **policy.fields,
            "key": policy.key,
            **ours,
            "policy": encoded,
            "x-amz-signature": Secret(signer.signature(encoded)),
        },
        open_fields=policy.open_fields,
        expires_at=signer.expires_at(seconds),
    )


def _place(location: Location) -> tuple[str, str]:
    if not location.bucket:
        raise UsageError("a form names its bucket: give the client bucket=, or the bucket as a part of the name")
    if not location.key:
        raise UsageError(f"the form's key must not be empty; for any key write {location.bucket}/{FILE_NAME}")
    if FILE_NAME in location.key.removesuffix(FILE_NAME):
        raise UsageError(f"{FILE_NAME} may stand at the end of the key only: S3 replaces it, and signs for no other")
    _utf8("key", location.key)
    return location.bucket, location.key


def _size(least: int | None, most: int | None) -> tuple[int, int] | None:
    """Bytes, both included."""
    if least is None and most is None:
        return None
    low, high = 0 if least is None else least, MAX_PART_SIZE if most is None else most
    for each in (low, high):
        if isinstance(each, bool) or not isinstance(each, int):
            raise UsageError(f"min_size and max_size must be numbers of bytes, not {type(each).__name__}")
    if not 0 <= low <= high <= MAX_PART_SIZE:
        raise UsageError(f"a form takes from min_size {low} to max_size {high} bytes: that must be 0 <= … <= 5 GiB")
    return low, high


def _afterwards(redirect: object, status: object) -> list[tuple[str, str]]:
    if redirect is not None and status is not None:
        raise UsageError("give redirect= or status=: who is sent elsewhere is not told a status")
    if redirect is not None:
        if not _is_web(redirect):
            raise UsageError("redirect must be an http:// or https:// URL")
        return [_field("redirect", "success_action_redirect", redirect)]
    if status is None:
        return []
    if status not in get_args(PostStatus):
        raise UsageError(f"status must be 200, 201 or 204, not {status!r:.60}")
    return [("success_action_status", str(status))]


def _is_web(url: object) -> TypeGuard[str]:
    try:
        return isinstance(url, str) and urlsplit(url).scheme in ("http", "https")
    except ValueError:  # brackets that hold no address
        return False


def _of_options(options: PostOptions) -> list[tuple[str, str]]:
    """As form fields: they have the headers' names, but for two."""
    for name in options:
        if name not in PostOptions.__annotations__:
            raise UsageError(f"there is no option {name!r} here, but {', '.join(sorted(PostOptions.__annotations__))}")
    if isinstance(options.get("sse"), SSECustomer):
        raise UsageError("SSECustomer: its key would stand in the form, for all its users to read")
    as_headers = WriteOptions(**{name: value for name, value in options.items() if name != "tags"})  # type: ignore[typeddict-item]
    said = [("acl" if name == "x-amz-acl" else name, value) for name, value in write_headers(as_headers)]
    if tags := options.get("tags"):
        said.append(("tagging", write_tags(tags, most=10).decode()))
    return said


def _fields(argument: str, fields: Mapping[str, str] | None) -> list[tuple[str, str]]:
    if fields is None:
        return []
    if not isinstance(fields, Mapping):
        raise UsageError(f"{argument} must be a mapping of form fields to texts, not {type(fields).__name__}")
    return [_field(argument, name, value) for name, value in fields.items()]


def _field(argument: str, name: object, value: object) -> tuple[str, str]:
    known = name.strip().lstrip("$") if isinstance(name, str) else ""
    if not isinstance(name, str) or not name or name != known or not name.isascii() or not name.isprintable():
        raise UsageError(f"{argument}: {name!r:.60} is no name of a form field")
    if name.lower() in _OURS:
        raise UsageError(f"{argument}: the field {name} is handtruck's own; leave it out")
    if not isinstance(value, str):
        raise UsageError(f"{argument}: the value of {name} must be text, not {type(value).__name__}")
    return name, _utf8(name, value)


def _utf8(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the form's {name} cannot be encoded as UTF-8") from None
    return value


def _check_names(names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise UsageError(f"the form field {name} is given twice")
        seen.add(name.lower())
