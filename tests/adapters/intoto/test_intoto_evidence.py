"""Link sets that a rule requires: at the terminal before it shows, at the gate before it allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from placet.adapters.evidence import EvidenceVerifiers
from placet.adapters.intoto.verify import LinkSetVerifier
from placet.adapters.trust_files import files_folder, keep_files
from placet.core.bundle import IntentRequest
from placet.core.encoding import sha256_hex
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason, VerificationError
from placet.core.evidence.facts import Evidence, EvidenceFact
from placet.core.statement import parse_statement
from placet.core.verify import VerifiedApproval, verify_for_use
from placet.testing.intoto import Chain, link_set, pem
from placet.testing.world import ALICE, BOB, DEFAULT_POLICY, GATE, NOW, World, expected_of

LAYOUT, OWNER = "layouts/app.layout", "layouts/keys/owner.pub"
RULE = f"""max_window = "1h"
evidence = [ {{ kind = "in-toto", layout = "{LAYOUT}", owners = ["{OWNER}"] }} ]"""
WHEEL = b"wheel"


class Shop:
    """A world whose releases need links for a layout, and the chain that makes them."""

    def __init__(self, folder: Path, *, policy: str = "", **layout: Any) -> None:
        self.chain = Chain()
        rule = policy or DEFAULT_POLICY.replace('max_window = "1h"', RULE)
        self.world = World(policy=rule)
        self.world.more_files = {
            LAYOUT: self.chain.signed(self.chain.layout(**layout), self.chain.owner),
            OWNER: pem(self.chain.owner),
        }
        self.snapshot = folder / "snapshot.json"
        self.save()

    def save(self) -> None:
        """Leaves what a refresh of trust would."""
        self.snapshot.write_bytes(self.world.snapshot())
        keep_files(self.snapshot, self.world.files())
        self.world.evidence = EvidenceVerifiers(self.snapshot)

    def request(self, *evidence: Evidence, wheel: bytes = WHEEL) -> IntentRequest:
        """Requests the release of the wheel."""
        named = tuple(("in-toto", item) for item in evidence)
        return self.world.request_release({"app.whl": wheel}, evidence=named)

    def decide(self, request: IntentRequest) -> VerifiedApproval:
        """Has two people approve on honest terminals, and asks the gate."""
        return verify_for_use(
            self.world.bundle(request, ALICE, BOB),
            trust=self.world.trust(),
            gate=GATE,
            expected=expected_of(request),
            now=NOW + 120,
            evidence=self.facts(request),
        )

    def facts(self, request: IntentRequest) -> tuple[EvidenceFact, ...]:
        """Verifies what a request carries."""
        verifier = LinkSetVerifier(self.snapshot)
        statement = parse_statement(request.payload)
        return verifier.verify(statement, request.evidence, trust=self.world.trust())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def reason(call: Any, kind: type[PlacetError]) -> Reason:
    """Returns why something was refused."""
    with pytest.raises(kind) as caught:
        call()
    return caught.value.reason


def test_links_that_satisfy_the_rules_layout_are_a_fact(shop: Shop) -> None:
    request = shop.request(link_set(shop.chain.files()))
    (met,) = shop.decide(request).evidence
    layout = shop.world.more_files[LAYOUT]
    assert met.fact.kind == "in-toto"
    assert met.fact.subjects == {f"sha256:{sha256_hex(WHEEL)}"}
    assert met.fact.predicate == {
        "layout": LAYOUT,
        "layoutDigest": sha256_hex(layout),
        "owners": [OWNER],
        "steps": ["build"],
    }
    assert met.fact.signer is not None
    assert (met.fact.signer.kind, met.fact.signer.instance) == ("functionaries", LAYOUT)


def test_another_artifact_than_the_chain_made_is_refused(shop: Shop) -> None:
    request = shop.request(link_set(shop.chain.files()), wheel=b"evil")
    assert reason(lambda: shop.decide(request), PolicyError) is Reason.EVIDENCE_SUBJECT


def test_no_links_are_refused(shop: Shop) -> None:
    assert reason(lambda: shop.decide(shop.request()), PolicyError) is Reason.EVIDENCE_REQUIRED


def test_links_by_strangers_are_refused_before_anything_is_shown(shop: Shop) -> None:
    request = shop.request(link_set(Chain().files()))
    refused = reason(lambda: shop.world.approve(request, ALICE), VerificationError)
    assert refused is Reason.EVIDENCE_LAYOUT


def test_a_layout_in_the_request_replaces_nothing(shop: Shop) -> None:
    """Whoever asks brings links; the layout is the administrators'."""
    evil = Chain()
    files = evil.files() | {"root.link": evil.signed(evil.layout(), evil.owner)}
    assert reason(lambda: shop.decide(shop.request(link_set(files))), VerificationError) is (
        Reason.EVIDENCE_LAYOUT
    )


def test_inspections_never_run_at_terminals_and_gates(tmp_path: Path) -> None:
    chain, mark = Chain(), tmp_path / "ran"
    shop = Shop(tmp_path, inspect=[chain.inspection(["touch", str(mark)])])
    request = shop.request(link_set(shop.chain.files()))
    assert reason(lambda: shop.world.approve(request, ALICE), VerificationError) is Reason.EVIDENCE_LAYOUT
    assert reason(lambda: shop.facts(request), VerificationError) is Reason.EVIDENCE_LAYOUT
    assert not mark.exists()


def test_a_missing_file_of_the_trust_root_is_undecided(shop: Shop) -> None:
    request = shop.request(link_set(shop.chain.files()))
    for path in files_folder(shop.snapshot).iterdir():
        path.unlink()
    assert reason(lambda: shop.facts(request), IndeterminateError) is Reason.EVIDENCE_NOT_VERIFIED


def test_a_layout_that_was_replaced_on_disk_is_undecided(shop: Shop) -> None:
    evil = Chain()
    path = files_folder(shop.snapshot) / sha256_hex(shop.world.more_files[LAYOUT])
    path.write_bytes(evil.signed(evil.layout(), evil.owner))
    request = shop.request(link_set(evil.files()))
    assert reason(lambda: shop.facts(request), IndeterminateError) is Reason.EVIDENCE_NOT_VERIFIED


def test_links_that_no_rule_asks_for_are_not_judged(tmp_path: Path) -> None:
    shop = Shop(tmp_path, policy=DEFAULT_POLICY)
    assert shop.facts(shop.request(link_set(Chain().files()))) == ()


def test_other_evidence_that_the_rule_asks_for_names_no_layout(tmp_path: Path) -> None:
    other = 'kind = "slsa-provenance", builders = ["https://github.com/actions/runner"], any_source = true'
    both = RULE.replace(" ]", f", {{ {other} }} ]")
    shop = Shop(tmp_path, policy=DEFAULT_POLICY.replace('max_window = "1h"', both))
    (fact,) = shop.facts(shop.request(link_set(shop.chain.files())))
    assert fact.kind == "in-toto"


def test_each_of_two_layouts_takes_its_own_links(tmp_path: Path) -> None:
    """Two rules, two layouts, two link sets: each set satisfies one of them."""
    other = "layouts/other.layout"
    both = RULE.replace(" ]", f', {{ kind = "in-toto", layout = "{other}", owners = ["{OWNER}"] }} ]')
    shop = Shop(tmp_path, policy=DEFAULT_POLICY.replace('max_window = "1h"', both))
    second = Chain()
    second.owner = shop.chain.owner
    shop.world.more_files[other] = second.signed(second.layout(), second.owner)
    shop.save()
    request = shop.request(link_set(shop.chain.files()), link_set(second.files()))
    assert [fact.predicate["layout"] for fact in shop.facts(request)] == [LAYOUT, other]
    shop.decide(request)
    alone = shop.request(link_set(shop.chain.files()))
    with pytest.raises(PlacetError):
        shop.decide(alone)


def test_without_the_library_it_is_undecided_and_says_what_to_install(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = shop.request(link_set(shop.chain.files()))
    import sys

    monkeypatch.setitem(sys.modules, "in_toto", None)
    with pytest.raises(IndeterminateError) as caught:
        shop.facts(request)
    assert "placet[intoto]" in caught.value.hint


def test_the_policy_names_layout_and_owners(tmp_path: Path) -> None:
    for wrong in ("", f'layout = "{LAYOUT}"', f'layout = "elsewhere", owners = ["{OWNER}"]'):
        rule = f'max_window = "1h"\nevidence = [ {{ kind = "in-toto"{"," if wrong else ""} {wrong} }} ]'
        with pytest.raises(PlacetError):
            Shop(tmp_path, policy=DEFAULT_POLICY.replace('max_window = "1h"', rule))
