"""Opening a registry as the command line says: with the login that docker, podman or cosign left."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from placet.cli import UndecidedError, UserError

if TYPE_CHECKING:
    from placet.adapters.bounded_http import HttpError
    from placet.adapters.oci.client import RegistryClient
    from placet.adapters.oci.reference import Reference

_SECONDS = 60.0


def configure_registry(parser: argparse._ActionsContainer) -> None:
    """Declares how a registry is reached; the names are those of oras."""
    parser.add_argument(
        "--plain-http", action="store_true", default=None, help="speak HTTP without TLS to the registry"
    )
    parser.add_argument(
        "--ca-file", type=Path, metavar="PEM", help="the authority of the registry's certificate"
    )
    parser.add_argument(
        "--token-host", default="", metavar="HOST", help="where the registry gives out tokens, if elsewhere"
    )


@contextmanager
def open_registry(image: Reference, args: argparse.Namespace, *, seconds: float) -> Iterator[RegistryClient]:
    """Opens an image's registry; everything that is asked of it takes so many seconds at most.

    Raises:
        HttpError: it cannot be asked.
    """
    from placet.adapters.bounded_http import BoundedHttp
    from placet.adapters.oci.client import RegistryClient
    from placet.adapters.oci.credentials import find_credential

    try:
        import httpx  # noqa: F401 -- asked for here, where its absence has a name
    except ModuleNotFoundError as e:
        raise UserError(f"Registries need {e.name}: pip install 'placet[registry]'.") from e
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


@contextmanager
def open_image(name: str, args: argparse.Namespace) -> Iterator[RegistryClient]:
    """Opens the registry of an image as it was written on the command line.

    Raises:
        UserError: it names no image.
        HttpError: the registry cannot be asked.
    """
    from placet.adapters.oci.reference import BadReference, parse_reference

    try:
        image = parse_reference(name)
    except BadReference as e:
        raise UserError(str(e), "Write NAME@sha256:… or NAME:TAG.") from e
    with open_registry(image, args, seconds=_SECONDS) as registry:
        yield registry


def registry_failed(error: HttpError, consequence: str) -> UndecidedError:
    """Returns the error for a registry that could not be asked or refused."""
    return UndecidedError(f"{error} {consequence}", error.hint)
