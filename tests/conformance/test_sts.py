"""Roles: moto's token service, which grants everything, and Ceph's, which verifies and whose tokens open a bucket.

Ceph's is a gateway of its own: with its token service on, a wrong signature is only ever called AccessDenied.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import botocore.session
import pytest
from botocore.config import Config

from handtruck import S3Client
from handtruck.credentials import StaticCredentials, collect_credentials
from handtruck.credentials.profile_keys import ProfileCredentials
from handtruck.credentials.sts import AssumeRoleCredentials
from handtruck.credentials.web_identity import WebIdentityCredentials
from handtruck.errors import AccessDenied, S3Error
from tests.conformance.support import PART, SEVERAL, content
from tests.conftest import _running
from tests.servers import rgw as gateway
from tests.servers.admin import Witness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from handtruck.models import Credentials
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

ROLE: Final = "arn:aws:iam:::role/uploader"
MOTOS_ROLE: Final = "arn:aws:iam::123456789012:role/reader"
BUCKET: Final = "by-role"
_TRUST: Final = {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/test"]}, "Action": ["sts:AssumeRole"]}
_ALLOW: Final = {
    "Effect": "Allow",
    "Action": ["s3:*"],
    "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
}


def policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(scope="session", name="tokens")
def _tokens() -> Iterator[Server]:
    """A gateway with a token service, and a role that may use one bucket."""
    role = ("role", "create", "--role-name=uploader", "--path=/", f"--assume-role-policy-doc={policy(_TRUST)}")
    allow = ("role-policy", "put", "--role-name=uploader", "--policy-name=all", f"--policy-doc={policy(_ALLOW)}")
    settings = ("rgw sts key = 0123456789abcdef", "rgw s3 auth use sts = true")
    yield from _running(lambda: gateway.start(1 << 30, settings=settings, commands=(role, allow)), optional=True)


@pytest.fixture(scope="session", name="owner")
def _owner(tokens: Server) -> Iterator[Witness]:
    """Sees the bucket with the owner's own keys."""
    with Witness(tokens) as client:
        client.create_bucket(BUCKET)
        yield client


class Late:
    """A clock that runs away: twenty minutes each time it is looked at."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=20)
        return self.now


class Noted(AssumeRoleCredentials):
    """Remembers the keys that it fetched."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.fetched: list[Credentials] = []

    async def _fetch(self, known: Credentials | None) -> Credentials:
        clock, self._clock = self._clock, lambda: datetime.now(UTC)  # what is signed is Ceph's to judge
        try:
            self.fetched.append(await super()._fetch(known))
        finally:
            self._clock = clock
        self._clock.now = datetime.now(UTC)  # type: ignore[attr-defined]
        return self.fetched[-1]


def source_of(server: Server, **changed: Any) -> dict[str, Any]:
    keys = StaticCredentials(server.access_key_id, changed.pop("secret", server.secret_access_key))
    return {"source": keys, "endpoint": server.url, "environ": {}} | changed


async def test_a_roles_keys_open_the_bucket(tokens: Server, owner: Witness, tmp_path: Path) -> None:
    """By a profile of the default chain, as users have it; an upload in parts, a download, and the owner's view."""
    files = {name: str(tmp_path / name) for name in ("config", "credentials")}
    (tmp_path / "config").write_text(
        f"[profile work]\nrole_arn = {ROLE}\nsource_profile = me\nrole_session_name = tester\n"
        f"endpoint_url = {tokens.url}\nduration_seconds = 900\n"
    )
    (tmp_path / "credentials").write_text(
        f"[me]\naws_access_key_id = {tokens.access_key_id}\naws_secret_access_key = {tokens.secret_access_key}\n"
    )
    environ = {"AWS_CONFIG_FILE": files["config"], "AWS_SHARED_CREDENTIALS_FILE": files["credentials"]}
    source = collect_credentials(profile="work", environ=environ)
    found = await source.load()
    assert found.session_token
    assert found.expires_at is not None
    assert timedelta(minutes=14) < found.expires_at - datetime.now(UTC) < timedelta(minutes=16)
    data = content(SEVERAL)
    async with S3Client(tokens.url, credentials=source) as s3:
        await s3.put_multipart(f"{BUCKET}/key", data, part_size=PART)
        assert owner.get(BUCKET, "key") == data
        await s3.get_file_parallel(f"{BUCKET}/key", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == data


async def test_newer_keys_in_mid_transfer(tokens: Server, owner: Witness) -> None:
    source = Noted(ROLE, **source_of(tokens, clock=Late()))
    data = content(SEVERAL)
    async with S3Client(tokens.url, credentials=source) as s3:
        await s3.put_multipart(f"{BUCKET}/key", data, part_size=PART)
    assert owner.get(BUCKET, "key") == data
    assert len({keys.session_token for keys in source.fetched}) > 1


async def test_what_the_role_may_not_do(tokens: Server, owner: Witness) -> None:
    """The keys are the role's, not the user's."""
    async with S3Client(tokens.url, credentials=AssumeRoleCredentials(ROLE, **source_of(tokens))) as s3:
        with pytest.raises(AccessDenied):
            await s3.create_bucket("another")


async def test_refusals_of_ceph(tokens: Server) -> None:
    with pytest.raises(AccessDenied, match=r"AssumeRole .* AccessDenied") as raised:
        await AssumeRoleCredentials(ROLE, **source_of(tokens, secret="wrong")).get()
    assert raised.value.code == "AccessDenied", "SignatureDoesNotMatch, where its token service is off"
    with pytest.raises(S3Error, match="NoSuchEntity") as missing:
        await AssumeRoleCredentials(ROLE + "s", **source_of(tokens)).get()
    assert (missing.value.status, missing.value.operation) == (404, "AssumeRole")


def identity(server: Server, keys: Credentials) -> str:
    """Who the server takes the bearer of the keys for, as botocore finds out."""
    session = botocore.session.Session()
    for variable in ("config_file", "credentials_file"):  # the user's own are none of our business
        session.set_config_variable(variable, os.devnull)
    client = session.create_client(
        "sts",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=str(keys.secret_access_key),
        aws_session_token=str(keys.session_token),
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )
    return str(client.get_caller_identity()["Arn"])


async def test_a_role_of_motos(moto: Server) -> None:
    source = AssumeRoleCredentials(MOTOS_ROLE, **source_of(moto, session_name="me", region="us-east-1", duration=900))
    found = await source.get()
    assert found is not None
    assert found.expires_at is not None
    assert timedelta(minutes=14) < found.expires_at - datetime.now(UTC) < timedelta(minutes=16)
    assert identity(moto, found) == "arn:aws:sts::123456789012:assumed-role/reader/me"
    newer = await source.get(rejected=found)
    assert newer is not None
    assert newer.access_key_id != found.access_key_id


async def test_a_role_by_a_role_of_motos(moto: Server) -> None:
    first = AssumeRoleCredentials(MOTOS_ROLE, **source_of(moto, region="us-east-1"))
    second = AssumeRoleCredentials(MOTOS_ROLE + "2", **source_of(moto, source=first, session_name="you"))
    found = await second.get()
    assert found is not None
    assert identity(moto, found) == "arn:aws:sts::123456789012:assumed-role/reader2/you"


async def test_web_identity_of_motos(moto: Server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("header.claims.signature")
    environ = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ROLE_ARN": MOTOS_ROLE,
        "AWS_ROLE_SESSION_NAME": "pod",
        "AWS_ENDPOINT_URL_STS": moto.url,
        "AWS_REGION": "us-east-1",
    }
    for source in (WebIdentityCredentials(environ=environ), ProfileCredentials(environ=environ)):
        found = await source.get()
        assert found is not None
        assert identity(moto, found) == "arn:aws:sts::123456789012:assumed-role/reader/pod"
