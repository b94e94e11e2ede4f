"""How S3 encrypts what it keeps. Keys are never printed, pickled or logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Never, TypeAlias

from ..errors import UsageError

_KEY_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class SSES3:
    """With keys that S3 itself keeps (AES-256). Free; AWS does it anyway where nothing else is asked for.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingServerSideEncryption.html
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SSEKMS:
    """With a key of the Key Management Service. Each request to it is billed, and so is each that S3 makes for us.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html

    Attributes:
        key_id: id, ARN or alias of the key; None: the account's own for S3.
        context: pairs that S3 keeps with the object and tells the key service, whose log shows them. Not printed here.
        bucket_key: let S3 use one data key for many objects of the bucket, which costs fewer requests to the service.
        dual_layer: encrypt twice (``aws:kms:dsse``).

    Raises:
        UsageError: one of them is of the wrong type.
    """

    key_id: str | None = None
    context: Mapping[str, str] | None = field(default=None, repr=False, hash=False)
    bucket_key: bool | None = None
    dual_layer: bool = False

    def __post_init__(self) -> None:
        key_id: object = self.key_id
        if not (key_id is None or (isinstance(key_id, str) and key_id)):
            raise UsageError("the key_id of SSEKMS must be text, or None for the account's own key")
        context: object = self.context
        if not (context is None or (isinstance(context, Mapping) and all(map(_is_text, context.items())))):
            raise UsageError("the context of SSEKMS must be a mapping of texts to texts")
        bucket_key, dual_layer = self.bucket_key is None or self.bucket_key, self.dual_layer
        for name, value in (("bucket_key", bucket_key), ("dual_layer", dual_layer)):
            if not isinstance(value, bool):
                raise UsageError(f"the {name} of SSEKMS must be True or False")


@dataclass(frozen=True, slots=True)
class SSECustomer:
    """With a key of your own (SSE-C), which S3 forgets with the answer: without it the object is lost.

    Every request that reads or writes the object carries the key, so it is refused over http, but to this machine.
    To print it shows no key; to pickle or copy it is an error.

    A server that knows nothing of SSE-C stores the object as it is, and perhaps the key beside it, as ``rclone serve
    s3`` does. A read without the key tells: it must be refused.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html

    Attributes:
        key: 32 bytes.

    Raises:
        UsageError: the key has another length.
    """

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        key: object = self.key
        if not (isinstance(key, bytes) and len(key) == _KEY_SIZE):
            raise UsageError(f"the key of SSECustomer must be {_KEY_SIZE} bytes")

    def __reduce_ex__(self, _: object) -> Never:
        raise TypeError("the key of SSECustomer does not leave this process: it cannot be pickled or copied")


def _is_text(pair: tuple[object, object]) -> bool:
    return all(isinstance(each, str) for each in pair)


Encryption: TypeAlias = SSES3 | SSEKMS | SSECustomer
"""How an object is to be encrypted."""
