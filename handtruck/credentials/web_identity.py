"""Keys of a role, asked for with a token that somebody else vouches for: AssumeRoleWithWebIdentity.

Kubernetes and CI systems put such a token into a file, and replace it before it ends.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyio import to_thread

from .._tasks import isolated
from ..errors import UsageError
from ..models import Credentials
from ..models.identity import Secret
from .base import environment
from .refreshing import utc_now
from .security_tokens import TIMEOUT
from .sts import RoleCredentials, check_role, check_session_name
from .whole import is_plain

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

TOKEN_FILE: Final = "AWS_WEB_IDENTITY_TOKEN_FILE"  # noqa: S105 - a variable's name
LARGEST_TOKEN: Final = 20000
"""Characters; what the service takes."""


class WebIdentityCredentials(RoleCredentials):
    """A role's keys, asked for with a token from a file (AssumeRoleWithWebIdentity), refreshed ahead of their end.

    The file is read anew, in a worker thread, for each fetch. The request is not signed. Blank where neither an
    argument nor the environment names a file.

    Args:
        token_file: the file; else ``AWS_WEB_IDENTITY_TOKEN_FILE``. ``~`` is expanded.
        role_arn: the role; else ``AWS_ROLE_ARN``.
        session_name: what the role's doings are logged under; else ``AWS_ROLE_SESSION_NAME``, else ``handtruck-``
            and the time.
        duration: seconds that the keys last, 900 to 43200; the role's own default if None.
        policy: JSON that narrows what the role may do.
        policy_arns: policies that do, by name.
        region: of the service, and of the keys; else ``AWS_REGION``, else ``AWS_DEFAULT_REGION``.
        endpoint: the service's URL; else ``AWS_ENDPOINT_URL_STS``, ``AWS_ENDPOINT_URL``, or AWS's in that region.
        timeout: seconds for each request. A failure on the other side, and of the road there, is tried three times.
        clock: the time now, time-zone aware.
        environ: read instead of the process's environment.

    Raises:
        UsageError: an argument is malformed.

    Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
    """

    def __init__(
        self,
        token_file: str | os.PathLike[str] | None = None,
        role_arn: str | None = None,
        *,
        session_name: str | None = None,
        duration: int | None = None,
        policy: str | None = None,
        policy_arns: Sequence[str] = (),
        region: str = "",
        endpoint: str | None = None,
        timeout: float = TIMEOUT,
        clock: Callable[[], datetime] = utc_now,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._token_file = token_file
        super().__init__(
            role_arn or "",
            session_name=session_name,
            duration=duration,
            policy=policy,
            policy_arns=policy_arns,
            region=region,
            endpoint=endpoint,
            timeout=timeout,
            clock=clock,
            environ=environ,
        )

    @property
    def where(self) -> str:
        """In words."""
        return "the token in " + (str(self._token_file) if self._token_file else f"the file of {TOKEN_FILE}")

    @property
    def reason(self) -> str:
        """Why the last load gave no whole credential."""
        return f"{TOKEN_FILE} is not set"

    async def _fetch(self, known: Credentials | None) -> Credentials:  # noqa: ARG002 - each fetch begins anew
        environ = environment(self._environ)
        path = self._token_file or environ.get(TOKEN_FILE)
        if not path:
            return Credentials()
        role_arn = self._role_arn or environ.get("AWS_ROLE_ARN", "")
        if not role_arn:
            raise UsageError(f"there is a web identity token in {path}, but no role to assume with it: AWS_ROLE_ARN")
        check_role(role_arn)
        name = self._session_name or environ.get("AWS_ROLE_SESSION_NAME")
        if name:
            check_session_name(name)
        token = await isolated(lambda: to_thread.run_sync(read_token, Path(path)))
        region = self._known_region()
        fields = {**self._form(role_arn, name), "WebIdentityToken": token}
        return replace(await self._service(region).call("AssumeRoleWithWebIdentity", fields), region=region)


def read_token(path: Path) -> Secret:
    """The token in a file.

    Raises:
        UsageError: the file cannot be read, or holds no token; what is in it is never quoted.
    """
    token = None
    why = "it holds no token: one line of plain text"
    try:
        with path.expanduser().open("rb") as file:
            token = _plain_token(file.read(LARGEST_TOKEN + 1))
    except OSError as error:
        why = error.strerror or type(error).__name__
    except RuntimeError:  # nobody's home
        why = "there is no home directory"
    if token is None:
        raise UsageError(f"no web identity token in {path}: {why}")
    return token


def _plain_token(content: bytes) -> Secret | None:
    text = Secret(content.strip().decode("ascii", "replace"))
    return text if is_plain(text) and len(content) <= LARGEST_TOKEN else None
