"""Opening a registry as the command line says: with the login that docker, podman or cosign left."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from placet.adapters.bounded_http import BoundedHttp
from placet.adapters.oci.client import RegistryClient
from placet.adapters.oci.credentials import find_credential
from placet.adapters.oci.reference import Reference


@contextmanager
def open_registry(image: Reference, args: argparse.Namespace, *, seconds: float) -> Iterator[RegistryClient]:
    """Opens an image's registry; everything that is asked of it takes so many seconds at most.

    Raises:
        HttpError: it cannot be asked.
    """
    with BoundedHttp(seconds=seconds, ca_file=args.ca_file) as http:
        # An authority's file says that there is TLS, even on this machine.
        plain = False if args.ca_file and not args.plain_http else args.plain_http
        yield RegistryClient(
            image,
            http,
            credential=find_credential(image.host),
            plain_http=plain,
            token_host=args.token_host,
        )
