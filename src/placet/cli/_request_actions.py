"""From command-line words to the action of a request: ``run``, ``deploy``, ``release``, ``sign``."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from placet.cli import UserError
from placet.cli._shared import action_uri, read_file
from placet.core.actions import is_relative_path
from placet.core.decode import Object
from placet.core.encoding import Digest, is_hex, sha256_hex
from placet.documents.signing import MAX_STATEMENT_BYTES, Artifact, build_statement, read_statement

_CHUNK = 1024 * 1024
_Built = tuple[Object, list[Object], list[tuple[Path, str]]]


class Action(NamedTuple):
    """What is to be approved: type, target, parameters and subjects as they stand in a statement."""

    action_type: str
    target: str
    annotations: Object
    parameters: Object
    subjects: list[Object]
    files: list[tuple[Path, str]]
    """The artifacts that lie on this machine, each with its SHA-256."""


def configure_run(parser: argparse.ArgumentParser) -> None:
    """Declares ``placet request run``."""
    parser.add_argument("--for", dest="target", required=True, metavar="URI", help="what the command acts on")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="an input file; the command finds its approved copy under NAME in the folder it starts in",
    )
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="a variable; there are no others"
    )
    parser.add_argument(
        "--cwd", default=".", metavar="DIR", help="start here (absolute; without --input only)"
    )
    parser.add_argument("argv", nargs="+", metavar="COMMAND", help="the exact command, after --")


def configure_deploy(parser: argparse.ArgumentParser) -> None:
    """Declares ``placet request deploy``."""
    parser.add_argument("image", metavar="NAME@sha256:…", help="the artifact, by digest")
    parser.add_argument("--to", dest="target", required=True, metavar="URI", help="where it is deployed")
    parser.add_argument("--strategy", default="rolling", help="rolling, recreate, canary or blue-green")
    parser.add_argument("--replicas", metavar="N", help="how many")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a configuration value"
    )


def configure_release(parser: argparse.ArgumentParser) -> None:
    """Declares ``placet request release``."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="the artifacts; one touch for all"
    )
    parser.add_argument("--to", dest="target", required=True, metavar="URI", help="such as pkg:pypi/name")
    parser.add_argument("--version", required=True, help="the version that is released")
    parser.add_argument("--channel", help="such as stable or beta")
    parser.add_argument(
        "--digest",
        choices=["sha256", "sha512"],
        default="sha256",
        help="how the artifacts are named (default sha256); npm's provenance names them by sha512",
    )


def configure_sign(parser: argparse.ArgumentParser) -> None:
    """Declares ``placet request sign``."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="the artifacts; one touch for all"
    )
    parser.add_argument("--to", dest="target", required=True, metavar="URI", help="such as pkg:pypi/name")
    parser.add_argument(
        "--predicate", type=Path, metavar="FILE", help="sign a statement with this predicate about them"
    )
    parser.add_argument("--predicate-type", metavar="URI", help="what the predicate is, for --predicate")
    parser.add_argument(
        "--statement", type=Path, metavar="FILE", help="sign this whole statement, byte for byte"
    )
    parser.add_argument(
        "--signer",
        nargs=2,
        metavar=("IDENTITY", "ISSUER"),
        help="whom the signature must be by; the gate refuses to sign as anybody else",
    )


def build_action(args: argparse.Namespace) -> Action:
    """Returns the action that the words describe.

    Raises:
        UserError: a file cannot be read, or a word has no meaning.
    """
    annotations: Object = _pairs(args.annotation, "--annotation")
    build = {
        "run": _build_run,
        "deploy": _build_deploy,
        "release": _build_release,
        "sign": _build_sign,
    }[args.action]
    parameters, subjects, files = build(args)
    return Action(action_uri(args.action), args.target, annotations, parameters, subjects, files)


def _build_run(args: argparse.Namespace) -> _Built:
    argv = args.argv[1:] if args.argv[0] == "--" else args.argv
    program = shutil.which(argv[0])
    if program is None:
        raise UserError(f"There is no program {argv[0]!r} on this machine.")
    if args.input and args.cwd != ".":
        raise UserError(
            "A command with input files starts in the folder that holds their copies.",
            "Leave out --cwd, or name the files by absolute paths (they are not bound then).",
        )
    # Links are resolved now, so that what is hashed, shown and later opened is one file.
    path = os.path.realpath(program)
    parameters: Object = {
        "argv": argv,
        "workingDirectory": args.cwd,
        "environment": _pairs(args.env, "--env"),
        "executable": {"path": path, "digest": {"sha256": hash_file(Path(path))}},
    }
    files: list[tuple[str, Path, str]] = []
    for item in args.input:
        name, separator, file = item.partition("=")
        file = file if separator else name
        if not is_relative_path(name):
            raise UserError(
                f"{name!r} is no plain relative name for an input file.", "Write --input NAME=FILE."
            )
        if name in [other for other, _, _ in files]:
            raise UserError(f"--input names {name!r} twice.", "Each name stands for one file.")
        files.append((name, Path(file), hash_file(Path(file))))
    return parameters, *_subjects(files)


def _build_deploy(args: argparse.Namespace) -> _Built:
    name, separator, digest = args.image.removeprefix("oci://").partition("@sha256:")
    if not separator or not name or not is_hex(digest, 64):
        raise UserError(
            f"{args.image!r} does not name an artifact by digest.",
            "Write NAME@sha256:<64 hexadecimal characters>; a tag may mean something else tomorrow.",
        )
    parameters: Object = {"strategy": args.strategy}
    if args.replicas:
        parameters["replicas"] = args.replicas
    if args.set:
        parameters["configuration"] = _pairs(args.set, "--set")
    return parameters, [{"name": name, "digest": {"sha256": digest}}], []


def _build_sign(args: argparse.Namespace) -> _Built:
    files = [(file.name, file, hash_file(file)) for file in args.files]
    parameters: Object = {"form": "artifact"}
    artifacts = tuple(Artifact(name, Digest(digest)) for name, _, digest in files)
    if (payload := _statement(args, artifacts)) is not None:
        predicate_type, subjects = read_statement(payload)
        if subjects != {artifact.digest for artifact in artifacts}:
            raise UserError("The statement is about other files than those that are named.")
        digest = {"sha256": sha256_hex(payload)}
        parameters = {
            "form": "statement",
            "statement": {"predicateType": predicate_type, "digest": digest},
        }
    if args.signer:
        parameters["signer"] = {"identity": args.signer[0], "issuer": args.signer[1]}
    return parameters, *_subjects(files)


def _statement(args: argparse.Namespace, artifacts: tuple[Artifact, ...]) -> bytes | None:
    """Returns the statement to sign, as the signing gate will build it; None where there is none."""
    if args.statement and args.predicate:
        raise UserError("--statement holds its predicate already.", "Name one of them.")
    if (args.predicate is None) != (args.predicate_type is None):
        raise UserError("--predicate and --predicate-type go together.")
    if args.statement:
        return read_file(args.statement, "statement", MAX_STATEMENT_BYTES)
    if args.predicate:
        predicate = read_file(args.predicate, "predicate", MAX_STATEMENT_BYTES)
        return build_statement(artifacts, args.predicate_type, predicate)
    return None


def _build_release(args: argparse.Namespace) -> _Built:
    parameters: Object = {"version": args.version}
    if args.channel:
        parameters["channel"] = args.channel
    subjects, files = _subjects([(file.name, file, hash_file(file)) for file in args.files])
    if args.digest != "sha256":
        subjects = [
            {"name": file.name, "digest": {args.digest: hash_file(file, args.digest)}} for file in args.files
        ]
    return parameters, subjects, files


def _subjects(files: list[tuple[str, Path, str]]) -> tuple[list[Object], list[tuple[Path, str]]]:
    subjects: list[Object] = [{"name": name, "digest": {"sha256": digest}} for name, _, digest in files]
    return subjects, [(path, digest) for _, path, digest in files]


def _pairs(words: list[str], flag: str) -> Object:
    pairs: Object = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name or not value:
            raise UserError(f"{flag} takes NAME=VALUE, not {word!r}.")
        if name in pairs:
            raise UserError(f"{flag} names {name!r} twice.")
        pairs[name] = value
    return pairs


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Returns a file's digest in hex.

    Raises:
        UserError: it cannot be read.
    """
    hasher = hashlib.new(algorithm)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
    except OSError as e:
        raise UserError(f"The file {path} cannot be read: {e.strerror}.") from e
    return hasher.hexdigest()
