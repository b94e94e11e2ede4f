"""What users may rely on: the public names, and the parameters that 0.2.0 had."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing

import pytest

import handtruck
from handtruck import S3Client, credentials, errors
from handtruck.client.bucket_documents import BucketDocumentMethods
from handtruck.client.buckets import BucketMethods
from handtruck.client.configuration import ConfigurationMethods


def test_names_of_the_package() -> None:
    assert sorted(handtruck.__all__) == [
        "AccessControlList",
        "AttributesOptions",
        "AwsObjectMeta",
        "BucketInfo",
        "CannedACL",
        "Checksum",
        "ChecksumAlgorithm",
        "CommonOptions",
        "ConfigurationKind",
        "CopyOptions",
        "CopyResult",
        "DeleteManyOptions",
        "DeleteOptions",
        "DeleteResult",
        "DeletedObject",
        "DownloadResult",
        "Folder",
        "Grant",
        "Grantee",
        "MultipartUploadInfo",
        "NotDeleted",
        "ObjectAttribute",
        "ObjectAttributes",
        "ObjectEncryption",
        "ObjectInfo",
        "ObjectOwnership",
        "ObjectPage",
        "ObjectPart",
        "ObjectReader",
        "ObjectStream",
        "ObjectVersion",
        "ObjectWriter",
        "ParallelListing",
        "PartInfo",
        "Permission",
        "PostOptions",
        "PresignedPost",
        "PresignedURL",
        "Progress",
        "PublicAccessBlock",
        "Quirks",
        "QuirksName",
        "ReadOptions",
        "RemovableKind",
        "RestoreStatus",
        "RestoreTier",
        "Retention",
        "RetentionMode",
        "RetentionOptions",
        "S3Client",
        "SSECustomer",
        "SSEKMS",
        "SSES3",
        "StorageClass",
        "Transfer",
        "Transfers",
        "Transport",
        "UploadResult",
        "VersionOptions",
        "VersionPage",
        "VersioningStatus",
        "WriteOptions",
        "__version__",
    ]
    assert all(hasattr(handtruck, name) for name in handtruck.__all__)


def test_names_of_credentials() -> None:
    assert sorted(credentials.__all__) == [
        "AbstractCredentials",
        "AssumeRoleCredentials",
        "ConfigCredentials",
        "ContainerCredentials",
        "EnvironmentCredentials",
        "MetadataCredentials",
        "ProcessCredentials",
        "ProfileCredentials",
        "SSOCredentials",
        "StaticCredentials",
        "URLCredentials",
        "WebIdentityCredentials",
        "collect_credentials",
        "merge_credentials",
    ]


def test_names_of_errors() -> None:
    kinds = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert set(errors.__all__) == kinds


def test_methods_of_the_client() -> None:
    public = {name for name in dir(S3Client) if not name.startswith("_")}
    assert public == {
        "abort_multipart_upload",
        "abort_stale_uploads",
        "aclose",
        "bucket_exists",
        "copy",
        "create_bucket",
        "delete",
        "delete_bucket",
        "delete_bucket_configuration",
        "delete_bucket_cors",
        "delete_bucket_encryption",
        "delete_bucket_lifecycle",
        "delete_bucket_ownership",
        "delete_bucket_policy",
        "delete_bucket_tags",
        "delete_object_tags",
        "delete_objects",
        "delete_prefix",
        "delete_public_access_block",
        "download",
        "exists",
        "get",
        "get_bucket_acl",
        "get_bucket_configuration",
        "get_bucket_cors",
        "get_bucket_encryption",
        "get_bucket_lifecycle",
        "get_bucket_location",
        "get_bucket_ownership",
        "get_bucket_policy",
        "get_bucket_tags",
        "get_bucket_versioning",
        "get_file_parallel",
        "get_object_acl",
        "get_object_attributes",
        "get_object_legal_hold",
        "get_object_lock_configuration",
        "get_object_retention",
        "get_object_tags",
        "get_public_access_block",
        "get_ranges",
        "head",
        "head_bucket",
        "iter_object_versions",
        "iter_objects",
        "list_buckets",
        "list_multipart_uploads",
        "list_object_versions",
        "list_objects_parallel",
        "list_objects_v2",
        "list_parts",
        "move",
        "open",
        "post",
        "presign",
        "presign_post",
        "put",
        "put_bucket_acl",
        "put_bucket_configuration",
        "put_bucket_cors",
        "put_bucket_encryption",
        "put_bucket_lifecycle",
        "put_bucket_ownership",
        "put_bucket_policy",
        "put_bucket_tags",
        "put_bucket_versioning",
        "put_file",
        "put_file_multipart",
        "put_multipart",
        "put_object_acl",
        "put_object_legal_hold",
        "put_object_lock_configuration",
        "put_object_retention",
        "put_object_tags",
        "put_public_access_block",
        "request",
        "restore",
        "stat",
        "stream",
        "transfers",
        "upload",
        "url",
        "walk",
    }


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("request", "method path headers params content content_sha256"),
        ("get", "object_name"),
        ("head", "object_name content_sha256"),
        ("delete", "object_name content_sha256"),
        ("put", "object_name content"),
        ("post", "object_name content"),
        ("put_file", "object_name file_path headers chunk_size content_sha256"),
        (
            "put_file_multipart",
            "object_name file_path headers part_size workers_count max_size part_upload_tries calculate_content_sha256",
        ),
        (
            "put_multipart",
            "object_name content headers workers_count max_size part_upload_tries calculate_content_sha256",
        ),
        (
            "get_file_parallel",
            "object_name file_path headers range_step workers_count range_get_tries buffer_size",
        ),
        ("list_objects_v2", "object_name bucket prefix delimiter max_keys start_after"),
    ],
)
def test_parameters_of_0_2_0_are_still_there(method: str, parameters: str) -> None:
    signature = inspect.signature(getattr(S3Client, method))
    assert set(parameters.split()) <= set(signature.parameters)


def test_keywords_have_names_and_types() -> None:
    """What many methods take in common is a TypedDict, unpacked; whatever else is spelled out."""
    for name in (name for name in dir(S3Client) if not name.startswith("_")):
        method = getattr(S3Client, name)
        for each in [method, *typing.get_overloads(method)] if callable(method) else []:
            found = [p for p in inspect.signature(each).parameters.values() if p.kind is p.VAR_KEYWORD]
            told_by_overloads = each is method and bool(typing.get_overloads(method))
            assert told_by_overloads or all(str(p.annotation).startswith("Unpack[") for p in found), name


def test_parameters_of_the_client() -> None:
    names = set(inspect.signature(S3Client).parameters)
    assert {"client", "url", "secret_access_key", "access_key_id", "session_token", "region", "credentials"} <= names


def test_every_public_method_says_what_it_raises() -> None:
    for name in ("request", "put", "put_file", "list_objects_v2", "put_multipart", "get_file_parallel"):
        assert "Raises:" in (getattr(S3Client, name).__doc__ or ""), name
    for name in ("iter_objects", "walk", "list_objects_parallel", "list_object_versions", "iter_object_versions"):
        assert "Raises:" in (getattr(S3Client, name).__doc__ or ""), name
    for name in ("copy", "move"):
        assert "Raises:" in (getattr(S3Client, name).__doc__ or ""), name
    for name in ("stat", "exists", "get_object_attributes", "restore", "put_object_tags", "put_object_acl"):
        assert "Raises:" in (getattr(S3Client, name).__doc__ or ""), name
    for name in ("delete_objects", "delete_prefix"):
        assert "Raises:" in (getattr(S3Client, name).__doc__ or ""), name
    for name in ("upload", "download", "open", "stream", "get_ranges"):
        assert "Raises:" in (getattr(S3Client, name).__doc__ or ""), name
    for name in ("list_multipart_uploads", "list_parts", "abort_multipart_upload", "abort_stale_uploads"):
        assert "Raises:" in (getattr(S3Client, name).__doc__ or ""), name

    for family in (BucketMethods, ConfigurationMethods, BucketDocumentMethods):
        for name in (name for name in vars(family) if not name.startswith("_")):
            assert "Raises:" in (getattr(S3Client, name).__doc__ or ""), name


def test_importing_needs_no_extra() -> None:
    """The core needs anyio and httpx only: no loop, no command, no server."""
    program = (
        "import sys\n"
        "for name in ('trio', 'uvloop', 'click', 'rich', 'botocore', 'awscrt'): sys.modules[name] = None\n"
        "import handtruck, handtruck.credentials, handtruck.errors, handtruck.cli\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
