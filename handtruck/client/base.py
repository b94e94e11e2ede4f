"""What the families of methods share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import arguments

if TYPE_CHECKING:
    from .._session import Session
    from ..protocol.address import Location
    from .arguments import ObjectName


class Family:
    """Some methods of :class:`handtruck.S3Client`."""

    _session: Session

    def _locate(self, object_name: ObjectName) -> Location:
        return self._session.endpoint.locate(arguments.object_name(object_name))
