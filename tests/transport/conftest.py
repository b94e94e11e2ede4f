"""An authority for https, made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.transport import certificates

if TYPE_CHECKING:
    from tests.transport.certificates import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Vouches for the loopback."""
    return certificates.found(tmp_path_factory.mktemp("authority"))
