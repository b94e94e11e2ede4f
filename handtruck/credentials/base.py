"""What a source of credentials is."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from .._tasks import LoopLocks
from ..errors import UsageError
from ..models import Credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

E = TypeVar("E", bound=Exception)

SECRET_VARIABLES: Final = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)


class AbstractCredentials(ABC):
    """A place keys may be found. Subclass it, write :meth:`load`, and pass it as ``credentials=``.

    What is pickled is where to look, never what was found: keys are looked for anew on the other side. A source that
    has been given secrets is not pickled at all. A copy is the source itself, which may be shared.
    """

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

    @property
    def reason(self) -> str:
        """Why the last :meth:`load` gave no whole credential, in words that fit after a colon; never a secret."""
        return "nothing there"

    @property
    def tried(self) -> str:
        """Where this source looks, and why it has no whole credential; never a secret, no I/O."""
        return f"{self.where}: {self.reason}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.where}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def _given_secret(self) -> str:
        """What secret this source was given, in words; blank if it could be pickled."""
        environ = getattr(self, "_environ", None)
        named = [name for name in SECRET_VARIABLES if environ is not None and environ.get(name)]
        return f"environ= with {named[0]}" if named else ""

    def __reduce_ex__(self, protocol: Any) -> Any:
        """For pickle.

        Raises:
            TypeError: the source holds secrets that it was given.
        """
        if given := self._given_secret():
            raise TypeError(
                f"{type(self).__name__} was given {given}, which does not leave this process:"
                " pickle a source that finds its keys on the other side"
            )
        return super().__reduce_ex__(protocol)

    def __getstate__(self) -> dict[str, object]:
        found = {name for name, value in vars(self).items() if isinstance(value, Credentials)}
        cached = {name for name in found if hasattr(type(self), name)}
        return {name: _unfound(value) for name, value in vars(self).items() if name not in cached}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update({name: LoopLocks() if value is LoopLocks else value for name, value in state.items()})


def _unfound(value: object) -> object:
    """An attribute as it was before anything was found; the class stands for locks, which are of this process."""
    if isinstance(value, LoopLocks):
        return LoopLocks
    return None if isinstance(value, Credentials) else value


def no_credentials(source: AbstractCredentials) -> UsageError:
    """The error to raise when ``source`` had no whole credential: it says where was looked, and why in vain."""
    return UsageError(f"no credentials: tried {source.tried}")


def afresh(error: E) -> E:
    """The same error, without its traceback; its notes are its own, for whoever is told may add to them."""
    again = copy(error)
    if notes := getattr(error, "__notes__", None):
        again.__notes__ = list(notes)
    return again


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


class Variables(Mapping[str, str]):
    """An environment that does not show where it is printed: it may become a local of a traceback."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._all = variables

    def __getitem__(self, name: str) -> str:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def environment(given: Mapping[str, str] | None) -> Variables:
    """The environment to read now: the process's, unless one was given."""
    return given if isinstance(given, Variables) else Variables(os.environ if given is None else given)
