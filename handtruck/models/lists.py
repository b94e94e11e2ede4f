"""What listings tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsObjectMeta:
    """One object of a listing. What the server left out is None.

    Attributes:
        key: the whole key, decoded; of a client of a prefix (``s3://bucket/prefix``), what follows that.
        size: bytes.
        etag: as the server sent it, quotes included where it sent quotes; an opaque validator, seldom an MD5.
        last_modified: time-zone aware.
        storage_class: ``STANDARD`` …, where the server says.
        owner: the owner's id, where the server says.
    """

    key: str
    size: int | None = None
    etag: str | None = None
    last_modified: datetime | None = None
    storage_class: str | None = None
    owner: str | None = None


class _Unfrozen:
    """What becomes an :class:`AwsObjectMeta`.

    A frozen dataclass's constructor calls ``object.__setattr__`` for each field, which is most of what it costs. This
    one has the same slots, so a filled one may be made an instance of the other: Python checks that they are the same.
    """

    __slots__ = ("etag", "key", "last_modified", "owner", "size", "storage_class")

    def __init__(
        self,
        key: str,
        size: int | None,
        etag: str | None,
        last_modified: datetime | None,
        storage_class: str | None,
        owner: str | None,
    ) -> None:
        self.key = key
        self.size = size
        self.etag = etag
        self.last_modified = last_modified
        self.storage_class = storage_class
        self.owner = owner
        self.__class__ = AwsObjectMeta  # type: ignore[assignment]  # noqa: PLE0237 - every object has it


_Make: TypeAlias = "Callable[[str, int | None, str | None, datetime | None, str | None, str | None], AwsObjectMeta]"

# Called as the constructor is, without the names, at a third of its cost: listings make them by the million.
object_meta: _Make = cast("_Make", _Unfrozen)


class ObjectPage(list[AwsObjectMeta]):
    """One page of a listing: a list of :class:`AwsObjectMeta` that carries the page's prefixes too.

    Attributes:
        common_prefixes: what the delimiter folded together, decoded; empty without a delimiter.
    """

    __slots__ = ("common_prefixes",)

    def __init__(self, objects: Iterable[AwsObjectMeta] = (), common_prefixes: Iterable[str] = ()) -> None:
        super().__init__(objects)
        self.common_prefixes: tuple[str, ...] = tuple(common_prefixes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectVersion:
    """One version of an object, or a marker that hides it. What the server left out is None.

    Attributes:
        key: the whole key, decoded; of a client of a prefix (``s3://bucket/prefix``), what follows that.
        version_id: the version; ``"null"`` for one that was written while the bucket kept no versions.
        is_latest: who asks for the key without a version gets this one (or 404, where it is a delete marker).
        is_delete_marker: no object: it hides the versions below it. Size, ETag and storage class are None.
        size: bytes.
        etag: as the server sent it, quotes included where it sent quotes; an opaque validator, seldom an MD5.
        last_modified: time-zone aware.
        storage_class: ``STANDARD`` …, where the server says.
        owner: the owner's id, where the server says.
    """

    key: str
    version_id: str | None = None
    is_latest: bool = False
    is_delete_marker: bool = False
    size: int | None = None
    etag: str | None = None
    last_modified: datetime | None = None
    storage_class: str | None = None
    owner: str | None = None


class VersionPage(list[ObjectVersion]):
    """One page of a listing of versions: a list of :class:`ObjectVersion` that carries the page's prefixes too.

    Attributes:
        common_prefixes: what the delimiter folded together, decoded; empty without a delimiter.
    """

    __slots__ = ("common_prefixes",)

    def __init__(self, versions: Iterable[ObjectVersion] = (), common_prefixes: Iterable[str] = ()) -> None:
        super().__init__(versions)
        self.common_prefixes: tuple[str, ...] = tuple(common_prefixes)


class Folder(NamedTuple):
    """What a walk finds at one prefix, as :func:`os.walk` finds it in a directory: three things to unpack.

    Attributes:
        prefix: where it is.
        prefixes: the prefixes one step below it, whole. What is taken out of this list is not walked.
        objects: those directly at it. One whose key *is* the prefix (a folder's marker) is among them.
    """

    prefix: str
    prefixes: list[str]
    objects: list[AwsObjectMeta]
