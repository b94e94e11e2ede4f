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
    "checksums-not-kept": _fault(
        "the checksum of a PUT that names its algorithm, too, comes back on HEAD in checksum mode",
        rgw="accepted, not returned",
    ),
    "multipart-checksums-not-kept": _fault(
        "the checksum of a multipart object comes back on HEAD in checksum mode",
        rgw="accepted, not returned",
        rclone="its type does, the checksum does not",
    ),
    "composite-without-number": _fault(
        "a composite checksum ends in the number of its parts (…-N)", moto="only the type tells that it is one"
    ),
    "crc32c-is-crc32": _fault("the CRC32C of a multipart object is a CRC32C", moto="it is a CRC32"),
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
    "sse-s3-ignored": _fault("x-amz-server-side-encryption: AES256 comes back on HEAD", rgw="it does not"),
    "sse-c-not-told": _fault(
        "HEAD of an object with a customer's key tells the algorithm, and the key's MD5", moto="it does not"
    ),
    "sse-c-key-told": _fault(
        "a customer's key is forgotten with the answer",
        rclone="it is stored beside the object, which is not encrypted, and HEAD tells it to everybody",
    ),
    "sse-kms-wants-a-key-id": _fault(
        "without a key's id the account's own key of the key service is taken", rgw="400 InvalidArgument"
    ),
    "sse-kms-unknown-keys": _fault(
        "an unknown key of the key service is 400 KMS.NotFoundException",
        rgw="403 InvalidAccessKeyId",
        moto="200, and its name is stored",
    ),
    "bucket-key-not-told": _fault("HEAD tells that a bucket key is used", rgw="it does not"),
    "multipart-bucket-key-not-told": _fault(
        "HEAD of a multipart upload tells that a bucket key is used", rgw="it does not", moto="it does not"
    ),
    "no-dual-layer": _fault("aws:kms:dsse encrypts twice", rgw="400 InvalidArgument"),
    "storage-classes-of-its-own": _fault(
        "STANDARD_IA is a storage class", rgw="400 InvalidArgument, until one is made"
    ),
    "owner-ignored": _fault(
        "x-amz-expected-bucket-owner of another account is 403 AccessDenied", rgw="200", moto="200", rclone="200"
    ),
    "lock-without-checksum-accepted": _fault(
        "a PUT with a retention but no checksum of the body is 400", rgw="200, and it is locked"
    ),
    "multipart-lock-ignored": _fault(
        "retention and hold of CreateMultipartUpload are those of the object",
        rgw="200, and nothing is locked",
        moto="200, and nothing is locked",
    ),
    "unknown-version-is-no-such-key": _fault("an unknown version is 404 NoSuchVersion", rgw="404 NoSuchKey"),
    "no-versions": _fault("versioning can be switched on", rclone="501 NotImplemented"),
    "tagging-header-ignored": _fault("x-amz-tagging on a PUT tags the object", rclone="200, and the tags are lost"),
    "multipart-tagging-ignored": _fault(
        "x-amz-tagging on CreateMultipartUpload tags the object",
        rgw="200, and the tags are lost",
        rclone="200, and the tags are lost",
    ),
    # --- what belongs to an object
    "attributes-fall-through": _fault(
        "GET key?attributes gives the object's attributes", rgw="200 with the object", rclone="200 with the object"
    ),
    "delete-marker-by-version-is-404": _fault("HEAD of a delete marker's own version is 405", rgw="404"),
    "storage-classes-refused": _fault("STANDARD_IA and GLACIER are storage classes", rgw="400 InvalidArgument"),
    "no-archive": _fault("an archived object can be restored", rgw="501 NotImplemented", rclone="400 MethodNotAllowed"),
    "tag-characters-unchecked": _fault("a tag with & or < in it is 400 InvalidTag", rgw="200, and it is kept"),
    "empty-tag-set-is-500": _fault("PutObjectTagging without a tag removes all of them", moto="500, with HTML"),
    "acl-document-loses-groups": _fault("PutObjectAcl keeps grants to groups", moto="those of a document are lost"),
    "legal-hold-without-lock-is-200": _fault(
        "GET key?legal-hold in a bucket without object lock is 400 InvalidRequest", moto="200 with an empty LegalHold"
    ),
    "retention-falls-through": _fault("GET key?retention gives the retention", moto="200 with the object"),
    "retention-stays": _fault("PutObjectRetention with an empty Retention removes it", rgw="400 MalformedXML"),
    "governance-ignored": _fault("a retention in governance mode cannot be shortened without the bypass", moto="200"),
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
    "complete-if-match-ignored": _fault(
        "Complete with a wrong If-Match is 412",
        rgw="200, and it is overwritten",
        rclone="200, and it is overwritten",
        moto="200, and it is overwritten",
    ),
    "delete-if-match-ignored": _fault(
        "DELETE with a wrong If-Match is 412", rgw="204, and it is gone", rclone="204, and it is gone"
    ),
    # --- copies
    "copy-etag-unquoted": _fault("CopyObject answers an ETag with quotes", rgw="without; so does UploadPartCopy"),
    "copy-replace-adds": _fault(
        "x-amz-metadata-directive: REPLACE replaces the whole description",
        rclone="what is sent is added to the source's",
    ),
    "copy-replace-loses-tags": _fault(
        "x-amz-metadata-directive: REPLACE leaves the tags as the tagging directive says", rgw="they are lost"
    ),
    "copy-tagging-ignored": _fault(
        "x-amz-tagging-directive: REPLACE replaces the tags", rgw="they stay the source's", rclone="there are no tags"
    ),
    "copy-onto-itself-accepted": _fault(
        "to copy an object onto itself without a change is 400 InvalidRequest", rclone="200, without an ETag"
    ),
    "copy-source-if-match-ignored": _fault(
        "a copy with a wrong x-amz-copy-source-if-match is 412", rgw="200", moto="200", rclone="200"
    ),
    "copy-source-if-none-match-ignored": _fault(
        "a copy with x-amz-copy-source-if-none-match of the source's ETag is 412", rgw="200", rclone="200"
    ),
    "copy-source-dates-ignored": _fault(
        "a copy with x-amz-copy-source-if-unmodified-since the past is 412", rgw="200", moto="200", rclone="200"
    ),
    "copy-if-none-match-ignored": _fault(
        "CopyObject If-None-Match: * to an existing key is 412",
        rgw="200, and it is overwritten",
        moto="200, and it is overwritten",
        rclone="200, and it is overwritten",
    ),
    "copy-if-match-ignored": _fault(
        "CopyObject with a wrong If-Match is 412",
        rgw="200, and it is overwritten",
        moto="200, and it is overwritten",
        rclone="200, and it is overwritten",
    ),
    "copy-tells-no-version": _fault(
        "CopyObject tells the version that was copied, and the one that was made", rgw="neither"
    ),
    "copy-of-sse-c-refused": _fault("an object with a customer's key can be copied", rgw="501 NotImplemented"),
    "copy-to-sse-c-ignored": _fault(
        "CopyObject encrypts with a customer's key",
        rgw="200, and the copy is in the clear",
        moto="as every such key",
        rclone="as every such key",
    ),
    "part-copy-stores-nothing": _fault(
        "UploadPartCopy copies bytes and answers the part's ETag", rclone="200 without a body, and the part is empty"
    ),
    # --- deletes
    "quiet-ignored": _fault("a quiet batch delete lists errors only", moto="it lists every key"),
    "batch-delete-unverified": _fault(
        "a batch delete with no checksum, or a wrong Content-MD5, is 400", rgw="200", rclone="200", moto="200"
    ),
    "trailing-slash-cannot-be-deleted": _fault(
        "a batch delete of a key that ends in a slash deletes it", rclone="it is told as InternalError"
    ),
    "control-characters-renamed": _fault(
        "a key with a control character is listed as it is, and can be deleted",
        rclone="it is listed as U+2400 and so on, and stays, though it is told as deleted",
    ),
    # --- buckets and lists
    "create-again-is-taken": _fault(
        "creating one's own bucket again is 200 or BucketAlreadyOwnedByYou", rclone="409 BucketAlreadyExists"
    ),
    "buckets-prefix-ignored": _fault("prefix limits ListBuckets", rgw="all are listed", rclone="all are listed"),
    "buckets-pages-ignored": _fault("max-buckets limits a page of ListBuckets", rgw="all in one", rclone="all in one"),
    "buckets-pages-have-no-token": _fault(
        "a page of ListBuckets that is not the last has a ContinuationToken", moto="the others are not to be had"
    ),
    "buckets-unsorted": _fault("buckets are listed by their names", moto="in the order in which they were made"),
    "head-bucket-has-no-region": _fault(
        "HeadBucket answers x-amz-bucket-region", rgw="it does not", rclone="it does not"
    ),
    "location-is-its-own": _fault("the location of a bucket in us-east-1 has no name", rgw="it is called default"),
    "no-other-regions": _fault(
        "a bucket can be made in eu-west-1 by its LocationConstraint",
        rgw="400 InvalidLocationConstraint, of us-east-1, too",
        rclone="200, and it has no location",
    ),
    "first-region-may-be-said": _fault(
        "a LocationConstraint of us-east-1 is 400 InvalidLocationConstraint", rclone="200"
    ),
    # --- configurations of buckets
    "no-bucket-configurations": _fault(
        "a bucket has tags, a policy, CORS and so on",
        rclone="GET bucket?cors lists the bucket, PUT makes it (409 BucketAlreadyExists), DELETE deletes it",
    ),
    "no-bucket-encryption": _fault(
        "a bucket has a default encryption",
        rgw="GET bucket?encryption lists the bucket, PUT tries to make it (400), DELETE deletes it",
        rclone="as all configurations",
    ),
    "no-ownership-controls": _fault(
        "a bucket has ownership controls",
        rgw="GET bucket?ownershipControls lists the bucket, PUT tries to make it (400), DELETE deletes it",
        rclone="as all configurations",
    ),
    "no-website": _fault("a bucket may be a website", rgw="405", rclone="as all configurations"),
    "no-accelerate": _fault(
        "a bucket may be accelerated", rgw="GET bucket?accelerate lists the bucket", rclone="as all configurations"
    ),
    "no-request-payment": _fault(
        "a bucket's requester may pay",
        moto="GET bucket?requestPayment lists the bucket",
        rclone="as all configurations",
    ),
    "notifications-of-its-own-topics": _fault(
        "a notification names a topic by its ARN, and no notification is an empty document",
        rgw="404 NoSuchKey for a topic that it does not keep itself, 400 MalformedXML for an empty document",
    ),
    "empty-tag-values-left-out": _fault("a tag without anything in it has a Value", moto="it has none"),
    "lifecycle-rewritten": _fault(
        "a rule comes back as it was written",
        rgw="an empty Filter is an empty Prefix then, and the Prefix of an And stands beside it",
    ),
    "cors-origins-sorted": _fault("AllowedOrigin comes back in the order it was written in", rgw="it is sorted"),
    "object-lock-years-are-zero": _fault("a retention in Days has no Years", moto="<Years>0</Years>"),
    "public-access-block-always-there": _fault(
        "a bucket without a public access block is 404 NoSuchPublicAccessBlockConfiguration",
        rgw="a document in which nothing is refused, and which has another name",
    ),
    "content-md5-of-configurations-ignored": _fault(
        "a configuration with a wrong Content-MD5 is 400 BadDigest",
        moto="200, and it is set",
        rgw="200, and it is set",
        rclone="as all configurations",
    ),
    "bad-bucket-names-accepted": _fault("a bad bucket name is 400 InvalidBucketName", moto="200"),
    "etag-unquoted-in-lists": _fault("ETags in lists are quoted", rclone="their quotes are missing"),
    "fetch-owner-ignored": _fault("fetch-owner=true tells each object's owner", rclone="there is none"),
    "versions-encoding-ignored": _fault(
        "encoding-type=url encodes the keys of ListObjectVersions", moto="they are not, control characters and all"
    ),
    "versions-marker-not-encoded": _fault(
        "where keys of ListObjectVersions are url-encoded, its NextKeyMarker is, too", rgw="it is not"
    ),
    "versions-key-marker-inclusive": _fault(
        "a key-marker without a version-id-marker begins after that key",
        rgw="it begins with all of its versions",
        moto="it begins with its second version",
    ),
    "versions-markers-last": _fault(
        "delete markers stand among the versions of their key", moto="they come behind all versions of the page"
    ),
    "v1-marker-is-a-token": _fault(
        "NextMarker of ListObjects is a key, or a common prefix", moto="it is a token that only the server knows"
    ),
    "v1-marker-not-encoded": _fault(
        "where keys of ListObjects are url-encoded, its NextMarker is, too", rgw="it is not", rclone="it is not"
    ),
    "v1-prefixes-on-every-page": _fault(
        "ListObjects tells a common prefix once, on the page where it belongs", moto="all of them on every page"
    ),
    "v1-prefixes-not-encoded": _fault(
        "encoding-type=url encodes the common prefixes of ListObjects", moto="only the keys are"
    ),
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
    # --- presigned
    "presigned-expired-is-400": _fault("an expired URL is 403 AccessDenied", rclone="400 AccessDenied"),
    "no-post-forms": _fault("a signed form stores an object", rclone="400 UnsupportedAlgorithm"),
    "post-policy-ignored": _fault("a form is held to its policy", moto="whatever is sent is stored"),
    "post-tagging-ignored": _fault("the field tagging of a form tags the object", moto="the tags are lost"),
    "post-201-says-nothing": _fault("success_action_status 201 answers a document", moto="201 without a body"),
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
