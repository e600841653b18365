"""``placet verify --require-slsa`` and ``--require-evidence``: what the caller asks beyond the rules."""

from __future__ import annotations

import argparse
import json
from typing import Any

from placet.cli import UserError
from placet.cli._shared import SLSA_DETAILS
from placet.core.bundle import parse_bundle
from placet.core.decode import Object
from placet.core.errors import MalformedError
from placet.core.evidence.expectations import check_options
from placet.core.evidence.facts import KINDS, PROVENANCE
from placet.core.expected import Expected, UnsafeAnyAction
from placet.core.policy import EvidenceRule, select_rules
from placet.core.statement import parse_statement
from placet.core.trust import Trust

_GUIDE = "docs/how-to-require-evidence.md lists every option with an example."


def read_required(
    args: argparse.Namespace, bundle: bytes, trust: Trust, expected: Expected | UnsafeAnyAction
) -> tuple[EvidenceRule, ...]:
    """Returns what the command line requires of the evidence, in the form that rules have.

    Raises:
        UserError: an option is unknown or wrong, or nobody says which builders are trusted.
        PlacetError: the bundle is malformed.
    """
    required = [_read_one(text) for text in args.require_evidence]
    if args.require_slsa is not None:
        required += _slsa(args, _rules_options(bundle, trust, expected))
    elif any(getattr(args, name) for name in SLSA_DETAILS):
        raise UserError(
            "--builder, --source, --any-source, --ref, --commit and --build-type go with --require-slsa.",
            "As in: --require-slsa 3 --builder ID --source https://github.com/acme/app",
        )
    for rule in required:
        try:
            # As a rule's, `each` is for whoever matches evidence with artifacts, not for its kind.
            check_options(rule.kind, {n: v for n, v in rule.options.items() if n != "each"}, "")
        except MalformedError as e:
            hint = e.hint or _GUIDE
            raise UserError(
                f"The evidence {rule.kind} cannot be required like this: {e.message}", hint
            ) from e
    return tuple(required)


def _slsa(args: argparse.Namespace, of_rules: list[Object]) -> list[EvidenceRule]:
    """Makes the requirement from the flags; what they leave open is as the matching rules have it.

    The rules hold all the same: what stands here can only ask for more.
    """
    own: Object = {name: getattr(args, name) for name in ("source", "ref", "commit") if getattr(args, name)}
    if args.build_type:
        own["build_types"] = args.build_type
    found = []
    for base in of_rules or [{}]:
        level = max(args.require_slsa, base.get("min_level", 1))
        options = base | own | {"min_level": level, "builders": _builders(args.builder, base, level)}
        if args.any_source:
            options = {n: v for n, v in options.items() if n != "source"} | {"any_source": True}
        elif args.source:
            options.pop("any_source", None)
        elif not base.get("source") and not base.get("any_source"):
            raise UserError(
                "From which repository must it be built? The rules name none.",
                "Name it: --source https://github.com/acme/app. Shared builders build for everybody, so "
                "without one anybody's artifact would do; if that is meant, say --any-source.",
            )
        found.append(EvidenceRule(PROVENANCE, options))
    return found


def _builders(named: list[str], base: Object, level: int) -> list[Object]:
    """Returns the builders that are trusted with a level: those of the flags, or else those of the rule.

    Whoever names a builder with --require-slsa 3 says that it reaches level 3: SLSA leaves that to the one
    who relies on it.  Who signs for it is as the rule says, where the rule knows it.

    Raises:
        UserError: there are none.
    """
    # A rule trusts a builder without a level of its own as far as it asks.
    default = {"level": base.get("min_level", 1)}
    known = [default | (b if isinstance(b, dict) else {"id": b}) for b in base.get("builders", [])]
    if named:
        of_rule = {builder["id"]: builder for builder in known}
        return [of_rule.get(name, {}) | {"id": name, "level": level} for name in named]
    if builders := [builder for builder in known if builder["level"] >= level]:
        return builders
    trusted = ", ".join(f"{b['id']} to level {b['level']}" for b in known)
    raise UserError(
        f"Which builders do you trust with SLSA Build level {level}? The rules "
        + (f"trust {trusted}." if trusted else "name none."),
        "Name one, as it stands in the provenance: --builder ID. Or have an administrator enter it in the "
        f'rule: builders = [{{ id = "ID", level = {level} }}].',
    )


def _rules_options(bundle: bytes, trust: Trust, expected: Expected | UnsafeAnyAction) -> list[Object]:
    """Returns what the matching rules already require of SLSA provenance."""
    if isinstance(expected, Expected):
        action, target = expected.action_type, expected.target
    else:
        statement = parse_statement(parse_bundle(bundle).envelope.payload)
        action, target = statement.action_type, statement.target
    rules = select_rules(trust.rules, trust.scopes, action=action, target=target)
    return [e.options for rule in rules for e in rule.evidence if e.kind == PROVENANCE]


def _read_one(text: str) -> EvidenceRule:
    """Reads ``kind[,option=value…]``; a value that begins like JSON is JSON."""
    kind, separator, rest = text.partition(",")
    if kind not in KINDS:
        raise UserError(f"There is no evidence of kind {kind[:80]!r}.", f"There are: {', '.join(KINDS)}.")
    options: Object = {}
    while separator:
        name, equals, rest = rest.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise UserError(
                f"{text[:200]!r} is not KIND,OPTION=VALUE,…",
                'As in: --require-evidence \'signature,signers=[{"key":"97e9…"}]\'. ' + _GUIDE,
            )
        if name in options:
            raise UserError(f"The option {name!r} of {kind} stands twice.")
        options[name], separator, rest = _read_value(rest, text)
    return EvidenceRule(kind, options)


def _read_value(rest: str, text: str) -> tuple[Any, str, str]:
    if rest[:1] not in ("[", "{", '"'):
        value, separator, rest = rest.partition(",")
        return _plain(value), separator, rest
    try:
        found, end = json.JSONDecoder().raw_decode(rest)
    except ValueError as e:
        raise UserError(f"In {text[:200]!r}, a value begins like JSON and is none: {e}.") from e
    separator, rest = rest[end : end + 1], rest[end + 1 :]
    if separator not in ("", ","):
        raise UserError(f"In {text[:200]!r}, a comma was expected after a value.")
    return found, separator, rest


def _plain(value: str) -> Any:
    if value in ("true", "false"):
        return value == "true"
    return int(value) if value.isascii() and value.isdigit() and len(value) < 6 else value
