"""What an administrator looks at before signing: the bytes to be signed, and what they are compared with.

Whoever prepared a draft may have made the whole folder around it, with a published side that says the same
already; then nothing would seem to change.  So the published side is verified from what this machine holds on
to (`tuf_anchor`): every root by the one before, from the one that a person told, versions that never go back,
and a draft that is the very next version.  The same function judges a repository and a challenge file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from tuf.api.metadata import Root, Targets  # type: ignore[attr-defined]  # re-exported without saying so

from placet.adapters.tuf.anchor import Anchor, TrustAnchors
from placet.adapters.tuf.chain import (
    PublishedSide,
    VerifiedSide,
    check_told,
    continued,
    file_digests,
    no_continuation,
    not_as_told,
    published_side,
    seen_of,
    verify_published,
)
from placet.adapters.tuf.delegations import check_files_fetchable, check_nothing_hidden
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.signing import PendingRole, attach_signature, pending_roles, signing_keys
from placet.adapters.tuf.trust import (
    ROOT,
    SIGNED_BY_PEOPLE,
    TARGETS,
    encode_signed,
    parse_signed,
    person_of,
)
from placet.core.decode import read_hex_digest
from placet.core.encoding import Digest, KeyId, parse_json, sha256_hex
from placet.core.errors import (
    IndeterminateError,
    MalformedError,
    PolicyError,
    Reason,
    visible,
)
from placet.core.people import Deployment, parse_deployment
from placet.core.sshsig import parse_public_key
from placet.core.trust import DEPLOYMENT_FILE, MAX_FILE_BYTES


class ScopeChange(NamedTuple):
    """The rules of a scope that has owners, as they signed them before, and as they are to be signed."""

    old: dict[str, bytes]
    new: dict[str, bytes]


class Review(NamedTuple):
    """What an administrator looks at: the bytes to be signed and the files they name, before and after.

    `old_root` and `old_targets` are the signed parts of what is published, `new_root` and `new_targets` the
    bytes to be signed; None where there are none.
    `scopes` is the same for each scope whose owners sign.
    `compared_with` says in sentences what the change was compared with; it is shown above the change.
    """

    pending: tuple[PendingRole, ...]
    old_files: dict[str, bytes]
    new_files: dict[str, bytes]
    old_root: bytes | None
    new_root: bytes | None
    old_targets: bytes | None
    new_targets: bytes | None
    scopes: dict[str, ScopeChange]
    deployment: Deployment
    compared_with: tuple[str, ...]
    anchor: Anchor


def review(
    repository: TrustRepository,
    anchors: TrustAnchors,
    *,
    root_sha256: str | None = None,
    person: str | None = None,
) -> Review:
    """Returns everything that is needed to show a trust change; the files are those that the bytes name.

    Args:
        repository: the working repository, which others may have written.
        anchors: what this machine holds on to; what was verified as published is added to it.
        root_sha256: the root's SHA-256, by hand; needed once where this machine did not make the trust root.
        person: who looks; only what they may sign is shown, where they may sign anything.

    Raises:
        IndeterminateError: this machine knows no root of this deployment, and none was told.
        VerificationError: the published side is no continuation of what this machine knows, or is not what
            administrators signed, so the difference would lie.
        MalformedError: the bytes to be signed say something that would not be shown.
    """
    pending, side = pending_roles(repository), published_side(repository)
    messages = {item.role: item.message for item in pending}
    new_files = repository.files_named_by(messages[TARGETS]) if TARGETS in messages else side.files
    deployment = _deployment(new_files)
    told = None if root_sha256 is None else read_hex_digest(root_sha256.strip().lower(), "/rootSha256")
    anchor = _anchor_for(deployment, side, messages, anchors, told)
    published = verify_published(side, anchor)
    if published is not None:
        check_told(told, published)
        _check_same_deployment(side, deployment)
    mine = _of_person(repository, pending, person)
    shown = {item.role: item.message for item in mine}
    _check_next_versions(shown, published)
    for role, message in shown.items():
        signed = parse_signed(message, role)
        check_nothing_hidden(role, signed)
        if isinstance(signed, Targets):
            check_files_fetchable(signed, repository.read_files(signed))
    basis = _say_basis(published, sha256_hex(messages.get(ROOT, b"")), shown)
    sentences = (basis, *_say_earlier(anchor, shown))
    if published is not None:
        anchor = anchor._replace(published=continued(anchor, published))
        anchors.keep(anchor)
    scopes = {
        role: _scope_change(repository, side, published, role, message)
        for role, message in shown.items()
        if role not in SIGNED_BY_PEOPLE
    }
    if TARGETS not in shown:
        new_files = side.files
    return _compose(published, mine, side.files, new_files, scopes, deployment, sentences, anchor)


def _compose(
    published: VerifiedSide | None,
    mine: tuple[PendingRole, ...],
    old_files: dict[str, bytes],
    new_files: dict[str, bytes],
    scopes: dict[str, ScopeChange],
    deployment: Deployment,
    sentences: tuple[str, ...],
    anchor: Anchor,
) -> Review:
    old_targets = None if published is None else published.targets
    shown = {item.role: item.message for item in mine}
    return Review(
        pending=mine,
        old_files=old_files,
        new_files=new_files,
        old_root=None if published is None else encode_signed(published.root),
        new_root=shown.get(ROOT),
        old_targets=None if old_targets is None else encode_signed(old_targets),
        new_targets=shown.get(TARGETS),
        scopes=scopes,
        deployment=deployment,
        compared_with=sentences,
        anchor=anchor,
    )


def _check_same_deployment(side: PublishedSide, deployment: Deployment) -> None:
    if side.files and _deployment(side.files) != deployment:
        raise PolicyError(
            Reason.BAD_TRUST,
            "The draft changes the deployment's name or RP ID; no key would fit it any more.",
            hint="Nobody signs this. For another deployment, make a trust root of its own.",
        )


def _of_person(
    repository: TrustRepository, pending: tuple[PendingRole, ...], person: str | None
) -> tuple[PendingRole, ...]:
    """Returns the roles that a person may sign, or all where there is none."""
    mine = tuple(
        item
        for item in pending
        if person in {person_of(key) for key in signing_keys(repository, item.role).values()}
    )
    return mine or pending


def _scope_change(
    repository: TrustRepository,
    side: PublishedSide,
    published: VerifiedSide | None,
    role: str,
    message: bytes,
) -> ScopeChange:
    """Returns a scope's rules before and after; none before where their owners' signatures do not count."""
    known = published is not None and role in published.scopes
    return ScopeChange(
        old=side.scopes[role].rules if known else {},
        new=repository.read_files(cast(Targets, parse_signed(message, role))),
    )


def remember_published(repository: TrustRepository, anchors: TrustAnchors) -> None:
    """Adds what a repository publishes to what this machine holds on to, where it follows the deployment.

    Raises:
        PlacetError: as `review`; nothing was added.
    """
    side = published_side(repository)
    anchor = anchors.load(_deployment(side.files).name)
    if anchor is not None and (published := verify_published(side, anchor)) is not None:
        anchors.keep(anchor._replace(published=continued(anchor, published)))


def keep_signature(
    repository: TrustRepository,
    reviewed: Review,
    item: PendingRole,
    keyid: KeyId,
    sshsig: bytes,
    anchors: TrustAnchors,
) -> None:
    """Attaches a signature over what was shown, and remembers on this machine what was signed.

    Raises:
        PlacetError: as `attach_signature`.
    """
    attach_signature(repository, item.role, keyid, sshsig)
    anchors.add_signed(reviewed.anchor, item.role, seen_of(parse_signed(item.message, item.role)))


def check_key_is_for(deployment: Deployment, wire: bytes) -> None:
    """Refuses a key that was made for another deployment, in whose name this one asks for a signature.

    Raises:
        PolicyError: UNKNOWN_KEY.
    """
    application = parse_public_key(wire).application
    if application not in (deployment.rp_id, deployment.ssh_application):
        raise PolicyError(
            Reason.UNKNOWN_KEY,
            f"This key was made for another deployment than {deployment.name!r}.",
            expected=(deployment.rp_id, deployment.ssh_application),
            actual=application,
        )


# -- from what this machine holds on to, to what is published


def _anchor_for(
    deployment: Deployment,
    side: PublishedSide,
    messages: Mapping[str, bytes],
    anchors: TrustAnchors,
    told: Digest | None,
) -> Anchor:
    """Returns what this machine knows, or was told now; before any publication, the draft root."""
    known = anchors.load(deployment.name)
    if not side.roots:
        return _anchor_for_draft(deployment, messages, known, told, anchors)
    if known is not None:
        return known
    if told is None:
        others = ", ".join(anchors.known())
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            f"This machine knows no root of the deployment {deployment.name!r}, so it cannot tell whether "
            "what this repository shows as published is true.",
            hint="Give the root's SHA-256 once, as --root-sha256 HEX, told by another administrator by "
            "voice; never take it from the repository."
            + (f" This machine follows {others}: is this the right repository?" if others else ""),
        )
    return Anchor(deployment.name, told, {}, {})


def _anchor_for_draft(
    deployment: Deployment,
    messages: Mapping[str, bytes],
    known: Anchor | None,
    told: Digest | None,
    anchors: TrustAnchors,
) -> Anchor:
    draft = sha256_hex(messages.get(ROOT, b""))
    if told not in (None, draft):
        raise not_as_told(
            "Nothing is published here, and the draft root is not the one whose SHA-256 you gave.",
            told,
            draft,
        )
    if known is not None and known.root_sha256 != draft:
        kept = anchors.path(deployment.name)
        raise no_continuation(
            "Nothing is published here, and the draft root is not the one that this machine knows.",
            expected=known.root_sha256,
            actual=draft,
            forget=f" If the trust root was founded anew, remove {kept}." if kept.exists() else "",
        )
    if known is not None and known.published:
        raise no_continuation("This machine has seen a published trust root, and none is published here.")
    return known or Anchor(deployment.name, draft, {}, {})


def _check_next_versions(messages: Mapping[str, bytes], published: VerifiedSide | None) -> None:
    """Refuses a draft that leaves versions out: those were published, and are not shown here.

    A scope that changed hands, or was taken back before, begins at a higher version, with all its rules new.
    """
    for role, message in messages.items():
        before = _published_role(published, role)
        due = 1 if before is None else before.version + 1
        version = parse_signed(message, role).version
        if version != due and (before is not None or role in SIGNED_BY_PEOPLE):
            raise no_continuation(f"The draft is {role} {version}, and after what is published comes {due}.")


def _published_role(published: VerifiedSide | None, role: str) -> Root | Targets | None:
    if published is None:
        return None
    return {ROOT: published.root, TARGETS: published.targets, **published.scopes}.get(role)


def _deployment(files: Mapping[str, bytes]) -> Deployment:
    if DEPLOYMENT_FILE not in files:
        raise MalformedError(Reason.BAD_TRUST, f"The trust root has no {DEPLOYMENT_FILE}.")
    value = parse_json(files[DEPLOYMENT_FILE], max_bytes=MAX_FILE_BYTES, what=DEPLOYMENT_FILE)
    return parse_deployment(value)


# -- what the administrator reads about it


def _say_basis(published: VerifiedSide | None, draft_root: Digest, shown: Mapping[str, bytes]) -> str:
    if published is None:
        return (
            f"Nothing is published yet, so everything is new. Draft root SHA-256: {draft_root}. Read it "
            "aloud to the other administrators before you sign; all of them must see the same."
        )
    targets = "no targets" if published.targets is None else f"targets {published.targets.version}"
    scopes = "".join(
        f", {role} {published.scopes[role].version}" for role in shown if role in published.scopes
    )
    return (
        f"Compared with root {published.root.version} (SHA-256 {published.root_sha256}), {targets}{scopes}."
    )


def _say_earlier(anchor: Anchor, messages: Mapping[str, bytes]) -> list[str]:
    """Says what was signed here and is not published here: it may be published elsewhere, and hidden now."""
    said = []
    for role, message in messages.items():
        seen = anchor.signed.get(role)
        if seen is None or seen.sha256 == sha256_hex(message):
            continue
        now = parse_signed(message, role)
        if seen.version < now.version:
            continue  # it was the base of what is published, or was given up for it
        files = file_digests(now) if isinstance(now, Targets) else {}
        names = sorted(n for n in files.keys() | seen.files.keys() if files.get(n) != seen.files.get(n))
        where = ", ".join(map(visible, names)) or "dates and versions"
        said.append(
            f"This machine signed another {role} {seen.version} before (SHA-256 {seen.sha256}); it differs "
            f"in {where}. If that was published after all, this repository is an old copy: ask the other "
            "administrators."
        )
    return said
