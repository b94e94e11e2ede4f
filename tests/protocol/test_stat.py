"""An answer to HEAD: all that it says, and nothing that makes it fail."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handtruck.models import Checksum, ObjectEncryption, ObjectInfo, RestoreStatus, Retention
from handtruck.protocol import stat
from handtruck.protocol.address import Location
from handtruck.protocol.answers import Answer
from handtruck.protocol.operations.objects import stat_object

from .strategies import DETERMINISTIC

FEW: Final = settings(DETERMINISTIC, max_examples=100)
NOON: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOON_TEXT: Final = "Sun, 22 Nov 2026 12:00:00 GMT"

WHOLE: Final = {
    "content-length": "5",
    "etag": '"0123456789abcdef-12"',
    "last-modified": NOON_TEXT,
    "content-type": "text/x",
    "x-amz-meta-some-name": "a value",
    "x-amz-missing-meta": "2",
    "x-amz-version-id": "v",
    "x-amz-checksum-sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=-12",
    "x-amz-checksum-type": "COMPOSITE",
    "x-amz-storage-class": "GLACIER",
    "x-amz-archive-status": "ARCHIVE_ACCESS",
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": "arn",
    "x-amz-server-side-encryption-bucket-key-enabled": "true",
    "cache-control": "no-store",
    "content-disposition": "inline",
    "content-encoding": "gzip",
    "content-language": "de",
    "expires": NOON_TEXT,
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-object-lock-retain-until-date": "2026-11-22T12:00:00.000Z",
    "x-amz-object-lock-legal-hold": "ON",
    "x-amz-restore": f'ongoing-request="false", expiry-date="{NOON_TEXT}"',
    "x-amz-tagging-count": "3",
    "x-amz-replication-status": "COMPLETED",
    "x-amz-website-redirect-location": "/there",
}
INFO: Final = ObjectInfo(
    key="key",
    size=5,
    etag='"0123456789abcdef-12"',
    last_modified=NOON,
    content_type="text/x",
    metadata={"some-name": "a value"},
    missing_metadata=2,
    version_id="v",
    checksums=(
        Checksum(algorithm="SHA256", value="47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", type="COMPOSITE", parts=12),
    ),
    storage_class="GLACIER",
    archive_status="ARCHIVE_ACCESS",
    encryption=ObjectEncryption(algorithm="aws:kms", kms_key_id="arn", bucket_key=True),
    parts_count=12,
    cache_control="no-store",
    content_disposition="inline",
    content_encoding="gzip",
    content_language="de",
    expires=NOON,
    retention=Retention(mode="COMPLIANCE", until=NOON),
    legal_hold=True,
    restore=RestoreStatus(ongoing=False, expires=NOON),
    tag_count=3,
    replication_status="COMPLETED",
    website_redirect_location="/there",
    headers=WHOLE,
)


def test_all_that_it_says() -> None:
    assert stat.object_info("key", WHOLE) == INFO
    assert isinstance(hash(INFO), int)
    assert "x-amz-storage-class" not in repr(INFO)


def test_the_call() -> None:
    here = Location(path="/bucket/key", bucket="bucket", key="key")
    operation = stat_object(here, (("If-Match", "e"),), (("versionId", "v"),))
    assert (operation.name, operation.method, operation.location) == ("HeadObject", "HEAD", here)
    assert (operation.headers, operation.query) == ((("If-Match", "e"),), (("versionId", "v"),))
    assert (operation.idempotent, operation.error_in_200, operation.content) == (True, False, b"")
    assert operation.parse(Answer(status=200, headers=WHOLE)) == INFO


def test_it_may_say_nothing() -> None:
    assert stat.object_info("key", {}) == ObjectInfo(key="key")


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_what_cannot_be_read_is_none(name: str) -> None:
    """Each alone: the others are not lost with it, and it stands in the headers as it came."""
    info = stat.object_info("key", WHOLE | {name: "?"})
    assert info.headers[name] == "?"
    for other, value in WHOLE.items():
        assert info.headers[other] == (value if other != name else "?")
    changed = {field for field in ObjectInfo.__slots__ if getattr(info, field) != getattr(INFO, field)}
    assert len(changed - {"headers", "parts_count"}) <= 1


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("content-length", "-1", "size", None),
        ("content-length", "1" * 30, "size", None),
        ("content-length", "٣", "size", None),
        ("last-modified", "yesterday", "last_modified", None),
        ("expires", "0", "expires", None),
        ("expires", "Sun, 22 Nov 2026 13:00:00 +0100", "expires", NOON),
        ("expires", "Sun, 22 Nov 2026 12:00:00 -0000", "expires", NOON),
        ("expires", "2026-11-22T12:00:00", "expires", NOON),
        ("expires", "Fri, 31 Dec 9999 23:00:00 -0800", "expires", None),
        ("x-amz-object-lock-mode", "FOREVER", "retention", None),
        ("x-amz-object-lock-legal-hold", "OFF", "legal_hold", False),
        ("x-amz-object-lock-legal-hold", "maybe", "legal_hold", None),
        ("x-amz-restore", 'ongoing-request="true"', "restore", RestoreStatus(ongoing=True)),
        ("x-amz-restore", 'ongoing-request="perhaps"', "restore", None),
        ("x-amz-mp-parts-count", "7", "parts_count", 7),
        ("etag", '"e"', "parts_count", None),
        ("etag", "0123-4", "parts_count", 4),
        ("etag", "", "etag", None),
        ("x-amz-checksum-sha256", "x", "checksums", ()),
        ("x-amz-delete-marker", "true", "delete_marker", True),
        ("x-amz-meta-", "x", "metadata", {"some-name": "a value"}),
        ("X-Amz-Meta-B", "x", "metadata", {"some-name": "a value", "b": "x"}),
    ],
)
def test_odd_headers(name: str, text: str, field: str, value: object) -> None:
    assert getattr(stat.object_info("key", WHOLE | {name: text}), field) == value


def test_a_customers_key() -> None:
    prefix = "x-amz-server-side-encryption-customer"
    info = stat.object_info("key", {f"{prefix}-algorithm": "AES256", f"{prefix}-key-md5": "sum"})
    assert info.encryption == ObjectEncryption(algorithm="AES256", customer_key_md5="sum")


@FEW
@given(st.dictionaries(st.sampled_from(sorted(WHOLE)), st.text(max_size=40)))
def test_any_headers(headers: dict[str, Any]) -> None:
    info = stat.object_info("key", WHOLE | headers)
    for time in (info.last_modified, info.expires):
        assert time is None or time.tzinfo is not None


@FEW
@given(st.text(alphabet="0123456789:, +-TZGMUSunNov/", max_size=40))
def test_any_times(text: str) -> None:
    time = stat.time_in(text)
    assert time is None or time.utcoffset() is not None


@pytest.mark.parametrize("missing", ["etag", "last-modified", "accept-ranges"])
def test_what_is_an_object(missing: str) -> None:
    headers = {"etag": '"e"', "last-modified": NOON_TEXT, "accept-ranges": "bytes"}
    assert stat.is_an_object(headers)
    assert not stat.is_an_object({name: value for name, value in headers.items() if name != missing})
