"""Where keys come from.

Every source is an :class:`AbstractCredentials`: lazy (a constructor reads nothing), asked again for every
attempt of every request, and told when S3 called its keys expired. A source yields a whole credential or
nothing; only :func:`merge_credentials` combines the fields of several, because its name says so.

Floors: ``base`` (what a source is) ← ``static`` (arguments, URL, environment) · ``files`` (``~/.aws``) ·
``imds`` (the metadata service's protocol) ← ``metadata`` (keeping its keys fresh) ← ``chain`` (several sources).
"""

from .base import AbstractCredentials
from .chain import collect_credentials, merge_credentials
from .files import ConfigCredentials
from .metadata import MetadataCredentials
from .static import EnvironmentCredentials, StaticCredentials, URLCredentials

__all__ = (
    "AbstractCredentials",
    "ConfigCredentials",
    "EnvironmentCredentials",
    "MetadataCredentials",
    "StaticCredentials",
    "URLCredentials",
    "collect_credentials",
    "merge_credentials",
)
