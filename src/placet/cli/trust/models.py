"""``placet trust models``: which authenticator models count as attested."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from placet.cli import EXIT_ALLOW, EXIT_DENY, UserError
from placet.cli._shared import now, read_file
from placet.cli.trust.shared import add_repository, open_repository, stage
from placet.core.errors import PolicyError, visible

if TYPE_CHECKING:
    from placet.adapters.fido.mds import Blob
    from placet.adapters.tuf.repository import TrustRepository
    from placet.ceremony.models import Holder
    from placet.documents.models import Model

Files = dict[str, bytes]
_MAX_BLOB_BYTES = 64 * 1024 * 1024
_MAX_ROOT_BYTES = 64 * 1024

DESCRIPTION = """\
Which authenticator models count as attested, and who has which. A key is attested when its vendor signed what
model it is, under a root certificate that the administrators pinned here. The list is part of the trust root:
changes go into the draft, and count once they are signed.
"""


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command's arguments."""
    parser = commands.add_parser("models", help="which authenticator models count as attested")
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_repository(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    verbs = parser.add_subparsers(dest="models_command", metavar="COMMAND")
    listing = verbs.add_parser("list", help="what is allowed and what is enrolled (the default)")
    listing.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="for programs")
    _configure_import(verbs.add_parser("import", help="allow models of a FIDO metadata blob"))
    _configure_allow(verbs.add_parser("allow", help="allow a model with its vendor's root certificates"))
    for verb, what in (("revoke", "mark a model as revoked"), ("remove", "take a model out of the list")):
        command = verbs.add_parser(verb, help=what)
        command.add_argument("model", metavar="AAGUID", help="the model (of a U2F key: its key identifier)")
        _add_downgrade(command)
    for command in verbs.choices.values():
        command.add_argument(
            "--repository", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="the working repository"
        )


def _configure_import(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Verifies FIDO's signature on the blob (get it from https://mds3.fidoalliance.org/) and takes over "
        "the models that you name. Without --allow it brings up to date those that came from an earlier blob."
    )
    command.add_argument("--blob", required=True, type=Path, metavar="FILE.jwt", help="the metadata blob")
    command.add_argument(
        "--root", required=True, type=Path, metavar="FILE.pem", help="the root certificate that FIDO names"
    )
    command.add_argument(
        "--allow", nargs="+", action="extend", default=[], metavar="AAGUID", help="models to allow"
    )
    _add_downgrade(command)


def _configure_allow(command: argparse.ArgumentParser) -> None:
    command.add_argument("--aaguid", required=True, metavar="AAGUID", help="the model, from its vendor")
    command.add_argument(
        "--root",
        required=True,
        nargs="+",
        action="extend",
        type=Path,
        metavar="FILE.pem",
        help="its vendor's attestation root certificates",
    )
    command.add_argument("--description", required=True, metavar="TEXT", help="its name, for people")


def _add_downgrade(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--keys-become",
        choices=["vouched", "software"],
        help="record enrolled keys of a model that is no longer allowed as this, in the same change",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    repository = open_repository(args)
    before = repository.draft_files()
    match args.models_command:
        case "import":
            return _import(args, repository, before)
        case "allow":
            return _allow(args, repository, before)
        case "revoke" | "remove":
            return _take_away(args, repository, before)
        case _:
            return _list(args, before)


def _allow(args: argparse.Namespace, repository: TrustRepository, before: Files) -> int:
    from placet.adapters.fido.certificates import name_of, parse_certificate, parse_root
    from placet.ceremony.models import put_models
    from placet.documents.models import MAX_DESCRIPTION, Model, plain_text, read_aaguid

    roots = tuple(
        parse_root(read_file(path, "certificate", _MAX_ROOT_BYTES), str(path)) for path in args.root
    )
    model = Model(
        aaguid=read_aaguid(args.aaguid.lower()),
        key_identifiers=(),
        description=plain_text(args.description, MAX_DESCRIPTION),
        status="allowed",
        roots=roots,
    )
    names = "\n".join(f"  under {name_of(parse_certificate(root))}" for root in roots)
    said = f"The model {model.aaguid} ({model.description}) is allowed in the draft,\n{names}."
    return stage(repository, put_models(before, [model]), said)


def _import(args: argparse.Namespace, repository: TrustRepository, before: Files) -> int:
    from placet.adapters.fido.mds import select
    from placet.ceremony.models import put_models
    from placet.documents.models import read_models

    blob = _read_blob(args, before)
    listed = {model.id: model for model in read_models(before) if model.status == "allowed"}
    asked = {name.lower() for name in args.allow}
    if not asked and not listed:
        raise UserError("No model was named.", "Name those that you allow: --allow AAGUID ...")
    found = select(blob, asked | listed.keys())
    # What a vendor's page gave stays as it is; but where FIDO knows of a compromise, the list follows.
    theirs = {name for name, model in listed.items() if model.source.kind == "vendor"} - asked
    taken = [model for model in found.models if model.id not in theirs]
    gone = {
        listed[name]: refusal
        for name, refusal in found.refused.items()
        if isinstance(refusal, PolicyError) and name in listed
    }
    after = before | put_models(before, [*taken, *(_revoked(*item) for item in gone.items())])
    for model in gone:
        after |= _settle_keys(args, after, model)
    said = [f"{model.id} is REVOKED in the draft: {refusal}" for model, refusal in gone.items()]
    said += [f"{model.id} is allowed in the draft: {model.description}" for model in taken]
    # What is merely missing or malformed in the blob stays in the list.
    missed = found.refused.keys() - theirs - {model.id for model in gone}
    for name in sorted(missed):
        print(f"Not taken: {name}: {found.refused[name]}")
    if taken or gone:
        changes = {name: data for name, data in after.items() if before.get(name) != data}
        stage(repository, changes, "\n".join([*said, f"From FIDO metadata number {blob.number}."]))
    return EXIT_DENY if missed or gone else EXIT_ALLOW


def _read_blob(args: argparse.Namespace, before: Files) -> Blob:
    from placet.adapters.fido.mds import read_blob
    from placet.documents.models import read_models

    blob = read_blob(
        read_file(args.blob, "metadata blob", _MAX_BLOB_BYTES),
        read_file(args.root, "certificate", _MAX_ROOT_BYTES),
        at=now(),
    )
    newest = max((model.source.number for model in read_models(before)), default=0)
    if blob.number < newest:
        raise UserError(
            f"This blob has the number {blob.number}, and the list already comes from number {newest}.",
            "An older blob could bring back what was revoked since. Get the current one.",
        )
    return blob


def _revoked(model: Model, refusal: PolicyError) -> Model:
    """Returns a model as revoked, with the reason among its advisories."""
    from placet.documents.models import MAX_ADVISORIES, MAX_ADVISORY, plain_text

    advisories = (plain_text(refusal.message, MAX_ADVISORY), *model.advisories)
    return model._replace(status="revoked", advisories=advisories[:MAX_ADVISORIES])


def _take_away(args: argparse.Namespace, repository: TrustRepository, before: Files) -> int:
    from placet.ceremony.models import get_model, remove_model, revoke_model

    model = get_model(before, args.model)
    change = revoke_model if args.models_command == "revoke" else remove_model
    after = before | change(before, args.model)
    after |= _settle_keys(args, after, model)
    what = "revoked" if args.models_command == "revoke" else "no longer in the list"
    said = f"The model {model.id} ({model.description}) is {what}, in the draft."
    changes = {name: data for name, data in after.items() if before.get(name) != data}
    return stage(repository, changes, f"{said}{_others(before, model)}")


def _settle_keys(args: argparse.Namespace, files: Files, model: Model) -> Files:
    """Returns the change that keeps keys of a model from counting as attested.

    Raises:
        UserError: there are such keys, and nothing was said about them.
    """
    from placet.ceremony.models import attested_holders, downgrade_keys

    concerned = attested_holders(files, model.aaguid) if model.aaguid else ()
    if not concerned:
        return {}
    if args.keys_become is None:
        raise UserError(
            f"These keys count as attested because {model.description} is allowed: {_name(concerned)}.",
            "Revoke them first (`placet trust revoke`), or record them as less with --keys-become vouched "
            "(they still reach level 2) or --keys-become software (level 1 at most).",
        )
    print(f"Recorded as {args.keys_become}: {_name(concerned)}.")
    return downgrade_keys(files, [holder.credential.keyid for holder in concerned], args.keys_become)


def _others(files: Files, model: Model) -> str:
    """Says which keys of a model are enrolled without being attested."""
    from placet.ceremony.models import holders

    others = [h for h in holders(files).get(model.aaguid, ()) if h.credential.assurance != "attested"]
    return (
        f"\nOther keys of this model are enrolled, too: {_name(others)}." if others and model.aaguid else ""
    )


def _name(concerned: Sequence[Holder]) -> str:
    return ", ".join(f"{holder.person} ({holder.credential.keyid[:16]})" for holder in concerned)


def _list(args: argparse.Namespace, files: Files) -> int:
    from placet.ceremony.models import holders
    from placet.documents.models import read_models

    models, held = read_models(files), holders(files)
    if args.json:
        print(json.dumps(_as_json(models, held), indent=2))
        return EXIT_ALLOW
    for model in models:
        _print_model(model, held.pop(model.aaguid, ()) if model.aaguid else ())
    if not models:
        print("No model is allowed: no key can count as attested.")
        print("Allow some: placet trust models import --blob FILE.jwt --root FILE.pem --allow AAGUID ...")
    for aaguid, those in sorted(held.items()):
        print(f"\n{aaguid or 'Model unknown'}  (not in the list)")
        _print_holders(those)
    return EXIT_ALLOW


def _print_model(model: Model, held: Sequence[Holder]) -> None:
    from placet.adapters.fido.certificates import name_of, parse_certificate
    from placet.documents.models import SOFTWARE_AAGUIDS

    print(f"\n{model.id}  {'allowed' if model.status == 'allowed' else 'REVOKED'}")
    print(f"  {visible(model.description)}")
    if model.aaguid in SOFTWARE_AAGUIDS:
        print("  This is software: its keys never exceed level 1.")
    source = model.source
    if source.kind == "fido-mds":
        print(f"  From FIDO metadata number {source.number}, next update due {source.next_update}")
    for root in model.roots:
        print(f"  Root      {name_of(parse_certificate(root))}")
    for text in model.advisories:
        print(f"  Advisory  {visible(text)}")
    _print_holders(held)


def _print_holders(held: Sequence[Holder]) -> None:
    for holder in held:
        print(f"  {holder.credential.assurance:<9} {holder.person}  {holder.credential.keyid[:16]}")
    if not held:
        print("  Nobody has one.")


def _as_json(models: Sequence[Model], held: dict[str, tuple[Holder, ...]]) -> dict[str, Any]:
    from placet.core.encoding import sha256_hex

    def keys(those: Sequence[Holder]) -> list[dict[str, str]]:
        return [
            {"person": h.person, "keyid": h.credential.keyid, "assurance": h.credential.assurance}
            for h in those
        ]

    listed = [
        {
            "id": model.id,
            "description": model.description,
            "status": model.status,
            "rootSha256": [sha256_hex(root) for root in model.roots],
            "advisories": list(model.advisories),
            "source": model.source._asdict(),
            "keys": keys(held.get(model.aaguid, ()) if model.aaguid else ()),
        }
        for model in models
    ]
    known = {model.aaguid for model in models}
    other = {aaguid: keys(those) for aaguid, those in held.items() if not aaguid or aaguid not in known}
    return {"models": listed, "notListed": other}
