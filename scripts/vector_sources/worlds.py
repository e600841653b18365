"""The worlds whose trust snapshots the vectors refer to by name."""

# ruff: noqa: E501 -- a policy a line
# fmt: off
from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from placet.core.encoding import b64encode, encode_canonical, format_time
from placet.core.trust import compile_trust
from placet.testing.small_log import SmallLog
from placet.testing.world import ALICE, BOB, CAROL, NOW, SoftTerminal, World
from vector_sources.book import SEED, world

ONE_HOUR = 3600
ISSUER = "https://issuer.example"
LOG_URL = "https://log.example"
# Private P-256 scalars of gates' keys: uses of the first gate, and its verdicts; the second gate's is the next.
GATE_KEY, VERDICT_KEY = 20, 30
POLICY = """
[[rule]]
action = "https://placet.dev/actions/{action}/v1"
target = "**"
level = {level}
quorum = {{ threshold = {threshold}, of = ["group:release"] }}
exclude_requester = {exclude}
distinct_terminals = {distinct}
max_window = "1h"
{more}
"""


def policy(action: str = "run", level: int = 1, threshold: int = 2, *, exclude: str = "false", distinct: str = "false", more: str = "") -> str:
    """Returns a policy of one rule."""
    return POLICY.format(action=action, level=level, threshold=threshold, exclude=exclude, distinct=distinct, more=more)


SIGNER_KEY = "c" * 64
SIGNATURE_RULE = 'evidence = [{ kind = "signature", signers = [{ key = "' + SIGNER_KEY + '" }] }]'
HARDWARE = {ALICE: "attested", BOB: "vouched", CAROL: "software"}
ATTESTED = dict.fromkeys((ALICE, BOB, CAROL), "attested")
UV_OPTIONAL = {person: {"uv": False} for person in (ALICE, BOB, CAROL)}


def worlds() -> dict[str, World]:
    """Returns every world whose snapshot vectors refer to by name."""
    expired_key = {BOB: {"notAfter": format_time(NOW + 90)}}
    return {
        "default": world(),
        "hardware": world(policy=policy(level=2), assurance=HARDWARE),
        "hardware-uv-optional": world(policy=policy(), assurance=HARDWARE, credential_members=UV_OPTIONAL),
        "level-3": logged_world(3),
        "level-3-without-log": world(policy=policy(level=3), assurance=ATTESTED),
        "level-3-vouched": logged_world(3, assurance={ALICE: "attested", BOB: "vouched", CAROL: "attested"}),
        "level-4": level_four(),
        "logged": logged_world(1),
        "logged-nowhere": world(policy=policy(), assurance=ATTESTED),
        "uses-logged": uses_world("logged"),
        "uses-queued": uses_world("queued"),
        "uses-both": uses_world("both"),
        "one-voice": world(policy=policy(threshold=1)),
        "three-voices": world(policy=policy(threshold=3)),
        "exclude-requester": world(policy=policy(exclude="true")),
        "distinct-terminals": world(policy=policy(distinct="true")),
        "signature": world(policy=policy("deploy", more=SIGNATURE_RULE)),
        "two-rules": world(policy=policy() + policy(threshold=3)),
        "other-policy": world(policy=policy() + "# another edition\n"),
        "other-scope": world(policy=policy("deploy")),
        "without-gate": world(gates=["prod-us"]),
        "without-t2": _without_terminal("t2"),
        "without-bob": _without_person(BOB),
        "newer": world(versions={"root": 1, "targets": 2, "snapshot": 9, "timestamp": 9}),
        "expired-key": world(credential_members=expired_key),
        "future-key": world(credential_members={BOB: {"notBefore": format_time(NOW + 600)}}),
        "accounts": world(accounts={CAROL: [{"issuer": ISSUER, "subject": "4711"}]}),
        "uv-optional": world(credential_members=UV_OPTIONAL),
    }


def logged_world(level: int, **changes: Any) -> World:
    """Returns a world of attested keys whose trust root names a log, with a quorum of two of three witnesses."""
    made = world(policy=policy(level=level), assurance=ATTESTED)
    for name, value in changes.items():
        setattr(made, name, value)
    made.more_files["log-policy"] = SmallLog(seed=SEED).policy()
    return made


def uses_world(rules: str) -> World:
    """Returns a world whose gates log their uses: `rules` are ``logged``, ``queued``, or ``both``, one of each."""
    named = ("logged", "queued") if rules == "both" else (rules,)
    made = world(policy="".join(policy(more=f'uses = "{uses}"') for uses in named))
    gates = [
        {"id": "prod-eu", "ledger": "prod-eu", "useKeys": [_public(GATE_KEY)], "verdictKeys": [_public(VERDICT_KEY)]},
        {"id": "prod-us", "ledger": "prod-us", "useKeys": [_public(GATE_KEY + 1)]},
    ]
    made.more_files["gates.json"] = encode_canonical({"gates": gates})
    made.more_files["log-policy"] = SmallLog(seed=SEED, url=LOG_URL, quorum=0).policy()
    return made


def _public(number: int) -> str:
    key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    return b64encode(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


def level_four() -> World:
    """Returns a world whose rule asks for level 4, and of one person only, with three terminals."""
    made = logged_world(4, policy=policy(level=4, threshold=1))
    made.terminals["t3"] = SoftTerminal("t3", seed=SEED + b"t3")
    return made


def narrow_scope() -> bytes:
    """Returns the snapshot of a root that grants its policy fewer targets than its rules name."""
    source = world()
    files = source.files() | {"scopes.json": b'{"scopes":{"default":["host://build-9.example/**"]}}'}
    return compile_trust(files=files, versions=source.versions, expires_at=source.expires_at)


def _without_terminal(name: str) -> World:
    made = world()
    del made.terminals[name]
    return made


def _without_person(person: str) -> World:
    made = world(versions={"root": 1, "targets": 2, "snapshot": 2, "timestamp": 2})
    del made.keys[person]
    return made
