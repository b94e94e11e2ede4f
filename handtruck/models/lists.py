"""What listings tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsObjectMeta:
    """One object of a listing. What the server left out is None.

    Attributes:
        key: the whole key, decoded.
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


class ObjectPage(list[AwsObjectMeta]):
    """One page of a listing: a list of :class:`AwsObjectMeta` that carries the page's prefixes too.

    Attributes:
        common_prefixes: what the delimiter folded together, decoded; empty without a delimiter.
    """

    __slots__ = ("common_prefixes",)

    def __init__(self, objects: Iterable[AwsObjectMeta] = (), common_prefixes: Iterable[str] = ()) -> None:
        super().__init__(objects)
        self.common_prefixes: tuple[str, ...] = tuple(common_prefixes)
