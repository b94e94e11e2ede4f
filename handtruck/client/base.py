"""What the families of methods share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol import options
from . import arguments

if TYPE_CHECKING:
    from .._session import Session
    from ..protocol.address import Location, Query
    from ..protocol.operations import Headers
    from ..protocol.options import ReadOptions, WriteOptions
    from .arguments import HeaderTypes, ObjectName


class Family:
    """Some methods of :class:`handtruck.S3Client`."""

    _session: Session

    def _locate(self, object_name: ObjectName) -> Location:
        return self._session.endpoint.locate(arguments.object_name(object_name))

    def _writing(self, headers: HeaderTypes | None, given: WriteOptions) -> Headers:
        """All headers of a request that writes."""
        if not given:
            return arguments.headers_of(headers)
        return arguments.merged(headers, options.write_headers(given), self._session.endpoint)

    def _reading(self, headers: HeaderTypes | None, given: ReadOptions) -> tuple[Headers, Query]:
        """All headers of a request that reads, and its query parameters."""
        if not given:
            return arguments.headers_of(headers), ()
        more, query = options.read_request(given)
        return arguments.merged(headers, more, self._session.endpoint), query
