"""A warm decision against its signature checks alone, in one interleaved run.

`verify_for_use` on a bundle with two WebAuthn approvals and their terminal reports, trust
loaded, against the four checks inside it (two ECDSA P-256, two Ed25519) made with
`hashlib` and `cryptography` alone:

- checks    from the message to the answer: the hashes that WebAuthn and SSHSIG prescribe, the
            signature in DER, one call of `verify` each
- calls     the four calls of `verify` alone, everything else prepared: the hardest measure

The goal is held on `deploy`, the format's own example; `run` pins a program and an environment
as well, so there is more to read.  `logged` has a proof for each decision, in a log of a million
entries, under one checkpoint that the log and a witness signed: two Ed25519 checks and forty hashes
more.  Quotable are the ratios of medians; microseconds depend on the machine.  A second table says
what the rest is.

    python benchmarks/verify_warm.py [--rounds 1500]

Exits with 1 when a deploy decision takes more than twice its checks, or loading a snapshot of 25
approvers 5 ms or more.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable

from _measure import (
    APPROVERS,
    GATE,
    Scene,
    interleave,
    make_scene,
    medians,
    signature_checks,
    verify_calls,
    whole_checks,
)

from placet.core.approvals import verify_approvals
from placet.core.bundle import MAX_BUNDLE_BYTES, parse_bundle
from placet.core.display import check_text
from placet.core.encoding import parse_canonical_json
from placet.core.report import parse_report
from placet.core.rules import applicable_rules, check_rule_quorum
from placet.core.sshsig import parse_sshsig
from placet.core.statement import check_action, parse_statement
from placet.core.trust import parse_trust
from placet.core.verify import verify_for_use

GOAL, AIM = 2.0, 1.5
GOAL_LOAD_MS = 5.0


def decision(scene: Scene) -> Callable[[], object]:
    """Returns the call that a gate makes."""
    return lambda: verify_for_use(
        scene.bundle, trust=scene.trust, gate=GATE, expected=scene.expected, now=scene.now
    )


def sides_of(scene: Scene) -> dict[str, Callable[[], object]]:
    """Returns what is compared."""
    checks = signature_checks(scene.bundle)
    return {"checks": whole_checks(checks), "calls": verify_calls(checks), "decision": decision(scene)}


def parts(scene: Scene) -> dict[str, Callable[[], object]]:
    """Returns the decision's parts by what they do; a part may contain others (see `rest_of`)."""
    bundle = parse_bundle(scene.bundle)
    statement = parse_statement(bundle.envelope.payload)
    definition = scene.trust.actions[statement.action_type]
    rules = applicable_rules(statement, scene.trust)
    approvers, ignored = verify_approvals(bundle, statement, trust=scene.trust, at=scene.now)
    documents = [scene.bundle, statement.payload, *(report.payload for report in bundle.reports)]
    envelopes = [bundle.envelope, *bundle.reports]
    blobs = [signature.sig for envelope in envelopes for signature in envelope.signatures]

    def parse_json(chosen: list[bytes]) -> Callable[[], object]:
        return lambda: [parse_canonical_json(d, max_bytes=MAX_BUNDLE_BYTES, what="") for d in chosen]

    return {
        "json": parse_json(documents),
        "json of bundle": parse_json(documents[:1]),
        "json of statement": parse_json(documents[1:2]),
        "json of reports": parse_json(documents[2:]),
        "parse bundle": lambda: parse_bundle(scene.bundle),
        "parse statement": lambda: parse_statement(statement.payload),
        "parse reports": lambda: [parse_report(report.payload) for report in bundle.reports],
        "parse sshsig": lambda: [parse_sshsig(blob) for blob in blobs],
        "action and display": lambda: (
            check_action(statement, definition),
            check_text(statement, definition),
        ),
        "approvals": lambda: verify_approvals(bundle, statement, trust=scene.trust, at=scene.now),
        "rules": lambda: (
            applicable_rules(statement, scene.trust),
            [check_rule_quorum(rule, approvers, ignored, None) for rule in rules],
        ),
    }


def rest_of(median: dict[str, float]) -> dict[str, float]:
    """Returns what a decision spends beside its signature checks, in rows that do not overlap."""
    rows = {
        "JSON of bundle, statement and reports, read and held against its canonical form": median["json"],
        "members and base64 of the bundle": median["parse bundle"] - median["json of bundle"],
        "members of the statement": median["parse statement"] - median["json of statement"],
        "members of two reports": median["parse reports"] - median["json of reports"],
        "action schema and display text": median["action and display"],
        "four SSHSIG containers": median["parse sshsig"],
        "challenges, origins, flags, keys, levels": median["approvals"]
        - median["checks"]
        - median["parse sshsig"]
        - median["parse reports"],
        "rules and quorum": median["rules"],
    }
    rows["everything else, and what the parts cost more where they run once"] = (
        median["decision"] - median["checks"] - sum(rows.values())
    )
    return rows


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description="A warm decision against its signature checks.")
    parser.add_argument("--rounds", type=int, default=1500)
    rounds = parser.parse_args().rounds
    print(f"Python {platform.python_version()} ({platform.python_compiler()})\n")
    print("| warm decision, two people | checks | calls | verify_for_use | : checks | : calls |")
    print("|---|---:|---:|---:|---:|---:|")
    ratios = []
    for action, logged in (("deploy", False), ("deploy", True), ("run", False)):
        scene = make_scene(action, logged=logged)
        median = medians(interleave(sides_of(scene), rounds))
        ratios.append(median["decision"] / median["checks"])
        cells = [f"{median[name] * 1e6:.0f} us" for name in ("checks", "calls", "decision")]
        cells += [f"{ratios[-1]:.2f}", f"{median['decision'] / median['calls']:.2f}"]
        print(f"| {action}{', logged' if logged else ''} | {' | '.join(cells)} |")
    scene = make_scene()
    median = medians(interleave({**sides_of(scene), **parts(scene)}, max(rounds // 3, 1)))
    print("\n| what the rest of a deploy decision is | share of the checks |")
    print("|---|---:|")
    for name, seconds in rest_of(median).items():
        print(f"| {name} | {seconds / median['checks']:.2f} |")
    load = medians(interleave({"load": lambda: parse_trust(scene.snapshot)}, 50))["load"] * 1e3
    print(f"\nloading a snapshot of {APPROVERS} approvers: {load:.1f} ms (goal {GOAL_LOAD_MS:g} ms)")
    met = ratios[0] <= GOAL and load < GOAL_LOAD_MS
    print(f"goal: deploy at most {GOAL:g} times its checks (aim {AIM:g}): {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
