"""What each server gets wrong: one table, so that tests assert a fault where they cannot assert S3's behaviour.

Read a row as: the name of the fault, what S3 does, and what the named servers do instead. A server that is not
named does what S3 does. Probed on Ceph 16.2.15, rclone 1.75.2 and moto 5.2.5; a test which finds a fault
mended fails, and then the entry goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

SERVERS: Final = ("rclone", "moto", "rgw")


@dataclass(frozen=True, slots=True)
class Fault:
    """What S3 does, and what some servers do instead."""

    s3: str
    instead: Mapping[str, str]


def _fault(s3: str, **instead: str) -> Fault:
    return Fault(s3, instead)


FAULTS: Final[Mapping[str, Fault]] = {
    # --- the road
    "closes-connections": _fault("a connection serves many requests", moto="the server closes it after every answer"),
    "no-x-amz-request-id": _fault("every answer has x-amz-request-id", moto="none has; errors tell it in their XML"),
    # --- who may do what
    "verifies-no-signature": _fault(
        "a wrong secret is 403 SignatureDoesNotMatch, an unknown key 403 InvalidAccessKeyId",
        moto="whatever is asked is done",
    ),
    "clock-skew-is-400": _fault("20 minutes off is 403 RequestTimeTooSkewed", rclone="400 AccessDenied"),
    "clock-skew-ignored": _fault("20 minutes off is 403 RequestTimeTooSkewed", moto="200"),
    "region-ignored": _fault("a signature for another region is 400 or 403", rgw="200", rclone="200", moto="200"),
    "unsigned-header-accepted": _fault(
        "an x-amz-meta header that is not signed is 403", rgw="200, and it is stored", moto="200, and it is stored"
    ),
    # --- integrity
    "payload-hash-ignored": _fault(
        "a body that does not match x-amz-content-sha256 is 400, and nothing is stored",
        rclone="200, and it is stored",
        moto="200, and it is stored",
    ),
    "content-md5-ignored": _fault(
        "a body that does not match Content-MD5 is 400 BadDigest", moto="200, and it is stored"
    ),
    "checksums-not-returned": _fault(
        "an x-amz-checksum-* sent with a PUT comes back on HEAD in checksum mode",
        rgw="accepted, not returned",
        moto="accepted, not returned",
    ),
    "checksums-not-verified": _fault(
        "a wrong x-amz-checksum-* is 400, and nothing is stored",
        rgw="200, and it is stored",
        rclone="200, and it is stored",
        moto="200, and it is stored",
    ),
    # --- objects
    "range-is-200": _fault(
        "a range is 206 with its Content-Range", rclone="200 with the right body and the right Content-Range"
    ),
    "loses-expires": _fault("the Expires header of a PUT comes back", rclone="it is lost"),
    "sse-c-ignored": _fault(
        "an object with a customer's key is 400 without the key",
        rclone="200 with the body",
        moto="200 with the body",
    ),
    "subresources-fall-through": _fault(
        "PUT key?tagging and key?acl leave the body of the object alone",
        rclone="the object is overwritten with the request's XML",
    ),
    "no-versions": _fault("versioning can be switched on", rclone="501 NotImplemented"),
    "tagging-header-ignored": _fault("x-amz-tagging on a PUT tags the object", rclone="200, and the tags are lost"),
    "multipart-tagging-ignored": _fault(
        "x-amz-tagging on CreateMultipartUpload tags the object",
        rgw="200, and the tags are lost",
        rclone="200, and the tags are lost",
    ),
    # --- conditions
    "get-if-match-ignored": _fault("GET and HEAD with a wrong If-Match are 412", rclone="200 with the body"),
    "get-dates-ignored": _fault(
        "If-Modified-Since now is 304, If-Unmodified-Since the past is 412", rclone="200 with the body"
    ),
    "put-if-none-match-ignored": _fault(
        "PUT If-None-Match: * of an existing key is 412", rclone="200, and it is overwritten"
    ),
    "put-if-match-ignored": _fault("PUT with a wrong If-Match is 412", rclone="200, and it is overwritten"),
    "put-if-match-wants-unquoted": _fault(
        "PUT If-Match takes the ETag with its quotes",
        rgw="412 PreconditionFailed, unless the quotes are left out",
    ),
    "complete-if-none-match-ignored": _fault(
        "Complete If-None-Match: * of an existing key is 412",
        rgw="200, and it is overwritten",
        rclone="200, and it is overwritten",
    ),
    "delete-if-match-ignored": _fault(
        "DELETE with a wrong If-Match is 412", rgw="204, and it is gone", rclone="204, and it is gone"
    ),
    # --- deletes
    "quiet-ignored": _fault("a quiet batch delete lists errors only", moto="it lists every key"),
    "batch-delete-unverified": _fault(
        "a batch delete with no checksum, or a wrong Content-MD5, is 400", rgw="200", rclone="200", moto="200"
    ),
    # --- buckets and lists
    "create-again-is-taken": _fault(
        "creating one's own bucket again is 200 or BucketAlreadyOwnedByYou", rclone="409 BucketAlreadyExists"
    ),
    "bad-bucket-names-accepted": _fault("a bad bucket name is 400 InvalidBucketName", moto="200"),
    "etag-unquoted-in-lists": _fault("ETags in lists are quoted", rclone="their quotes are missing"),
    "delimiter-is-slash": _fault("any delimiter will do", rclone="whatever is asked, it is /"),
    # --- multipart uploads
    "first-complete-etag-empty": _fault(
        "Complete answers the ETag of the object",
        rgw="<ETag></ETag>, and when repeated an ETag without quotes; HEAD has the right one",
    ),
    "head-etag-is-plain-md5": _fault(
        "HEAD of a completed upload has the ETag that Complete answered (…-N)",
        rclone="it has the MD5 of the whole object",
    ),
    "part-after-abort-is-500": _fault("a part after an abort is 404 NoSuchUpload", moto="500"),
    "complete-after-abort-is-500": _fault(
        "Complete after an abort is 404 NoSuchUpload", rgw="500 InternalError", moto="500"
    ),
    "list-parts-after-abort-is-no-such-key": _fault(
        "ListParts after an abort is 404 NoSuchUpload", rgw="404 NoSuchKey"
    ),
    "complete-twice-is-404": _fault("Complete can be repeated", rclone="404 NoSuchUpload"),
    "parts-cannot-be-replaced": _fault(
        "a part sent again replaces the first", rclone="501 NotImplemented, unless it is the same once more"
    ),
    "no-uploads-is-404": _fault(
        "ListMultipartUploads of a bucket without uploads is an empty list",
        rclone="404 NoSuchUpload until the bucket has had its first upload",
    ),
    "uploads-marker-inclusive": _fault(
        "ListMultipartUploads begins after its markers",
        rclone="at them; the next markers are those of the first upload that is not shown",
    ),
    "uploads-pages-ignored": _fault("max-uploads limits a page of ListMultipartUploads", moto="all are in one page"),
    "uploads-unsorted": _fault("uploads are listed by their keys", moto="in the order in which they were begun"),
    "uploads-encoding-ignored": _fault(
        "encoding-type=url encodes the keys of ListMultipartUploads",
        rclone="they are as they are",
        moto="they are as they are",
    ),
    "uploads-bare-cr": _fault(
        "a CR in a listed key is written as a reference", moto="it is sent bare, which XML takes for an LF"
    ),
    "uploads-encoding-not-said": _fault(
        "encoding-type=url comes back as EncodingType where keys of ListMultipartUploads are encoded",
        rgw="they are encoded, and nothing says so",
    ),
    "uploads-without-owner": _fault("ListMultipartUploads tells owner and initiator", rclone="it does not"),
    "uploads-begun-in-2010": _fault("Initiated is when an upload was begun", moto="2010-11-10, always"),
    "list-parts-document": _fault("ListParts answers a ListPartsResult", moto="a ListPartsResponse"),
    "list-parts-marker-inclusive": _fault(
        "ListParts begins after part-number-marker", rclone="at it; and the next marker points one too far, or back"
    ),
    "complete-has-no-location": _fault("Complete answers a Location", rclone="it is empty"),
    # --- keys
    "key-1024-one-segment-500": _fault(
        "a key of 1024 bytes in one segment is stored",
        rclone="500 InternalError (from 256 bytes on), but it is listed from then on",
    ),
    "key-1025-accepted": _fault(
        "a key of 1025 bytes is 400 KeyTooLongError",
        rgw="400 InvalidObjectName",
        moto="200, and it is stored",
    ),
    "refuses-double-slash": _fault("a//b is a key", rclone="400 InvalidArgument"),
    "refuses-leading-slash": _fault("/a is a key", rclone="400 InvalidArgument"),
    "refuses-dot-segments": _fault("a/../b, a/./b and .. are keys", rclone="400 InvalidArgument"),
    "trailing-slash-lists-dir": _fault(
        "a key that ends in a slash is listed as it is", rclone="it is stored and listed without the slash"
    ),
    "file-and-folder-coexist": _fault("x and x/y are both keys", rclone="500 InternalError for the second"),
    "newline-key-404": _fault("a newline may be in a key", moto="404, with HTML"),
}


class Faults(Mapping[str, str]):
    """The faults of one server, by name. A name that is not in the table is an error, not an absent fault."""

    def __init__(self, server: str) -> None:
        self._instead = {name: fault.instead[server] for name, fault in FAULTS.items() if server in fault.instead}

    def __getitem__(self, name: str) -> str:
        if name not in FAULTS:
            raise ValueError(f"no fault is called {name!r}")  # KeyError would be None to `get`
        return self._instead[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._instead)

    def __len__(self) -> int:
        return len(self._instead)

    def __repr__(self) -> str:
        return f"<Faults {', '.join(self)}>"
