"""The stage of one scenario: a pipeline with every credential it has, people with keys, a gate.

Everything is made anew for each scenario.  The pipeline holds a GitHub-like workflow identity at a private
Sigstore and the functionary's key of an in-toto layout; the people hold software keys, which stand in for
hardware and never exceed INTENT_LEVEL_1; the gate has its own trust snapshot and its own use ledger.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from placet.adapters.evidence import EvidenceVerifiers, verify_bundle_evidence
from placet.adapters.sqlite.ledger import SqliteLedger, declare_new_birth
from placet.adapters.trust_files import keep_files
from placet.ceremony.decide import message, prepare
from placet.ceremony.publish import empty_bundle
from placet.core.bundle import IntentRequest, encode_bundle
from placet.core.dsse import Signature
from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError
from placet.core.evidence.facts import PROVENANCE, SIGSTORE_MEDIA_TYPE, Evidence
from placet.core.expected import Expected
from placet.core.levels import level_name
from placet.core.sshsig import NAMESPACE_INTENT
from placet.core.verify import verify_for_use
from placet.gates.uses import consume_use
from placet.lab.scenario import Answer, Side
from placet.testing.authenticator import SoftSk
from placet.testing.intoto import Chain, functionaries
from placet.testing.private_sigstore import PrivateSigstore, github_claims
from placet.testing.world import ALICE, BOB, GATE, RELEASE, RELEASE_TARGET, World

REPOSITORY = "octo/app"
SOURCE = f"git+https://github.com/{REPOSITORY}"
BUILDER = "https://github.com/actions/runner/github-hosted"
BUILD_TYPE = "https://actions.github.io/buildtypes/workflow/v1"
PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
ARTIFACT = "app-1.4.2.whl"
PEOPLE = (ALICE, BOB)
RULE = {"builders": [BUILDER], "min_level": 3, "source": SOURCE}

POLICY = f"""
[[rule]]
action = "{RELEASE}"
target = "pkg:**"
level = 1
quorum = {{ threshold = 2, of = ["group:release"] }}
exclude_requester = false
max_window = "1h"
evidence = [{{ kind = "slsa-provenance", builders = ["{BUILDER}"], min_level = 3, source = "{SOURCE}" }}]

[[rule]]
action = "https://placet.dev/actions/run/v1"
target = "host://**"
level = 1
quorum = {{ threshold = 2, of = ["group:release"] }}
exclude_requester = false
max_window = "1h"

[[rule]]
action = "https://placet.dev/actions/deploy/v1"
target = "k8s://**"
level = 1
quorum = {{ threshold = 2, of = ["group:release"] }}
exclude_requester = false
max_window = "1h"
"""


class Stage:
    """A pipeline, people and a gate.

    Args:
        folder: the scenario's own.
        now: when people are asked, in Unix seconds; this machine's time if left out.
        sigstore: the Sigstore that the trust root names; one with a new seed if left out.
        seed: makes every run the same; fresh if left out.
    """

    def __init__(
        self,
        folder: Path,
        *,
        now: int | None = None,
        sigstore: PrivateSigstore | None = None,
        seed: bytes | None = None,
    ) -> None:
        self.folder = folder
        seed = seed or secrets.token_bytes(16)
        self.now = int(time.time()) if now is None else now
        self.sigstore = sigstore or PrivateSigstore(seed)
        self.job = github_claims(REPOSITORY, ref="refs/tags/v1.4.2")
        self.world = World(seed=seed, policy=POLICY, now=self.now)
        self.world.more_files = {
            "sigstore/trusted_root.json": json.dumps(self.sigstore.trusted_root()).encode()
        }
        self.chain = Chain()
        self.snapshot = folder / "trust.json"
        self.verifiers = EvidenceVerifiers(self.snapshot)
        self.world.evidence = self.verifiers
        keep_files(self.snapshot, self.world.files())
        self.snapshot.write_bytes(self.world.snapshot())
        self.trust = self.world.trust()
        ledger = folder / "ledger.sqlite"
        declare_new_birth(ledger, now=self.now - 60)
        self.ledger = SqliteLedger(ledger)

    def close(self) -> None:
        """Closes the gate's ledger."""
        self.ledger.close()

    def provenance(self, name: str, artifact: bytes, **claimed: str) -> bytes:
        """Signs provenance as the pipeline does: its own identity, logged and timestamped.

        Args:
            claimed: what the provenance is to claim otherwise, such as `commit`.
        """
        commit = claimed.get("commit", self.job["sha"])
        workflow = {"ref": self.job["ref"], "repository": f"https://github.com/{REPOSITORY}"}
        workflow["path"] = ".github/workflows/release.yml"
        statement = {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": hashlib.sha256(artifact).hexdigest()}}],
            "predicateType": PROVENANCE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {"workflow": workflow},
                    "resolvedDependencies": [
                        {"uri": f"{SOURCE}@{self.job['ref']}", "digest": {"gitCommit": commit}}
                    ],
                },
                "runDetails": {
                    "builder": {"id": BUILDER},
                    "metadata": {
                        "invocationId": f"https://github.com/{REPOSITORY}/actions/runs/4711/attempts/1"
                    },
                },
            },
        }
        return self.sigstore.sign_statement(self.job, statement)

    def layout(self) -> bytes:
        """Returns the project's in-toto layout: whatever the pipeline's functionary built, it built."""
        return self.chain.signed(self.chain.layout(), self.chain.owner)

    def build_link(self, name: str, artifact: bytes) -> dict[str, bytes]:
        """Returns the pipeline's link: signed by the functionary's key, which the pipeline holds."""
        digest = {"sha256": hashlib.sha256(artifact).hexdigest()}
        return self.chain.files(self.chain.link(products={name: digest}))

    def request_release(self, name: str, artifact: bytes, bundle: bytes) -> IntentRequest:
        """Asks for the approval of a release, as the pipeline may."""
        evidence = Evidence(sha256_hex(bundle), SIGSTORE_MEDIA_TYPE, bundle)
        return self.world.request_release({name: artifact}, evidence=[(PROVENANCE, evidence)])

    def approve(self, request: IntentRequest) -> bytes:
        """Returns the bundle after two people looked at a request and touched their keys."""
        return self.world.bundle(request, *PEOPLE)

    def forge(self, request: IntentRequest) -> bytes:
        """Returns the best bundle that a pipeline can make alone: signed, with a key of its own."""
        key = SoftSk(application=f"ssh:placet:{self.world.deployment}")
        review = prepare(request, trust=self.trust, now=self.now, evidence=self.verifiers)
        bundle = empty_bundle(request)
        signature = Signature(key.keyid, key.sign(NAMESPACE_INTENT, message(review)))
        return encode_bundle(bundle._replace(envelope=bundle.envelope._replace(signatures=(signature,))))

    def functionaries(self, people: Sequence[str] = PEOPLE) -> dict[str, Any]:
        """Returns the people's keys as an in-toto layout names them."""
        return functionaries(self.world, *people)

    def ask_gate(self, question: str, bundle: bytes, expected: Expected) -> Answer:
        """Asks the gate, which verifies, and uses an approval up, as gates do."""
        now = self.now + 120
        try:
            facts = verify_bundle_evidence(bundle, trust=self.trust, verifier=self.verifiers)
            approval = verify_for_use(
                bundle, trust=self.trust, gate=GATE, expected=expected, now=now, evidence=facts
            )
            consume_use(approval, self.ledger, now, None, log=None)
        except PlacetError as e:
            return Answer(Side.GATE, "placet gate", question, False, str(e), str(e.reason))
        people = " and ".join(approval.people)
        said = f"approved by {people}, {level_name(approval.level)}; the approval is now used up"
        return Answer(Side.GATE, "placet gate", question, True, said)

    def expect_release(self, artifact: bytes) -> Expected:
        """Returns what the gate sees when it is about to publish a file with these bytes."""
        digest = hashlib.sha256(artifact).hexdigest()
        return Expected(RELEASE_TARGET, frozenset({f"sha256:{digest}"}), RELEASE, {"version": "1.0.0"})
