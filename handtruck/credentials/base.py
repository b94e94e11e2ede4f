"""What a source of credentials is."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..models import Credentials


class AbstractCredentials(ABC):
    """A place keys may be found. Subclass it, write :meth:`load`, and pass it as ``credentials=``."""

    @abstractmethod
    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        """What this source has now: maybe half a credential, maybe only a region, maybe nothing (blank fields).

        Args:
            rejected: keys that S3 called expired (``ExpiredToken``). A source that remembers, and would answer
                with these same keys, fetches newer ones first.

        Raises:
            UsageError: the source is there and cannot be used (a malformed file).
            ConnectionFailed: a source on the network stopped answering.
            InvalidResponse: a source on the network talked nonsense.
        """

    async def get(self, *, rejected: Credentials | None = None) -> Credentials | None:
        """Both halves of a key, with the token and region that go with them, or None.

        Args:
            rejected: as in :meth:`load`.

        Raises:
            UsageError: the source is there and cannot be used (a malformed file).
            ConnectionFailed: a source on the network stopped answering.
            InvalidResponse: a source on the network talked nonsense.
        """
        found = await self.load(rejected=rejected)
        return found if found.complete else None

    @property
    def where(self) -> str:
        """Where this source looks, in words that fit after "tried"; never a secret, no I/O."""
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.where}>"


def no_credentials(source: AbstractCredentials) -> UsageError:
    """The error to raise when ``source`` had no whole credential: it says where was looked."""
    return UsageError(f"no credentials: tried {source.where}")


def is_rejected(known: Credentials, rejected: Credentials | None) -> bool:
    """Whether ``known`` (blank fields aside: they may have been merged with others) is what S3 turned down."""
    if rejected is None:
        return False
    pairs = (
        (known.access_key_id, rejected.access_key_id),
        (known.secret_access_key, rejected.secret_access_key),
        (known.session_token, rejected.session_token),
    )
    return all(mine == theirs for mine, theirs in pairs if mine)


def environment(given: Mapping[str, str] | None) -> Mapping[str, str]:
    """The environment to read now: the process's, unless one was given."""
    return os.environ if given is None else given
