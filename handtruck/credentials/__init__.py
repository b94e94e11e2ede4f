"""Where keys come from.

Every source is an :class:`AbstractCredentials`: lazy (a constructor reads nothing), asked again for every
attempt of every request, and told when S3 called its keys expired. A source yields a whole credential or
nothing; only :func:`merge_credentials` combines the fields of several, because its name says so.

Floors, each on the ones before:

* ``base``: what a source is. ``whole``, ``answers``: what keys have to look like. ``http``: one small request.
* ``static``: arguments, URL, environment. ``profiles``, ``files``: ``~/.aws``, and keys that stand there.
* ``refreshing``: keys that end, kept fresh. On it, each with what it speaks to: ``process`` (a program) · ``sts``,
  ``web_identity`` (``security_tokens``) · ``sso`` (``sso_cache``) · ``container`` · ``metadata`` (``imds``).
* ``ways``: how a profile says that its keys are to be had ← ``profile_keys``: having them.
* ``chain``: several sources as one. ``settings``: what stands beside the keys.
"""

from .base import AbstractCredentials
from .chain import collect_credentials, merge_credentials
from .container import ContainerCredentials
from .files import ConfigCredentials
from .metadata import MetadataCredentials
from .process import ProcessCredentials
from .profile_keys import ProfileCredentials
from .sso import SSOCredentials
from .static import EnvironmentCredentials, StaticCredentials, URLCredentials
from .sts import AssumeRoleCredentials
from .web_identity import WebIdentityCredentials

__all__ = (
    "AbstractCredentials",
    "AssumeRoleCredentials",
    "ConfigCredentials",
    "ContainerCredentials",
    "EnvironmentCredentials",
    "MetadataCredentials",
    "ProcessCredentials",
    "ProfileCredentials",
    "SSOCredentials",
    "StaticCredentials",
    "URLCredentials",
    "WebIdentityCredentials",
    "collect_credentials",
    "merge_credentials",
)
