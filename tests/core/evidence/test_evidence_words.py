"""What a person sees of evidence: escaped, bounded, and never more than was verified."""

from __future__ import annotations

from typing import Any

from facts_world import APP, AT, COMMIT, OWN, build, github, predicate
from hypothesis import given
from hypothesis import strategies as st

from placet.core.evidence.facts import KINDS, SBOM, EvidenceFact, Signer
from placet.core.evidence.sbom import summarise_sbom
from placet.documents.evidence_words import MAX_VALUE, describe_fact

NAMES = (
    *(
        "metadata",
        "tools",
        "components",
        "component",
        "name",
        "packages",
        "SPDXID",
        "@graph",
    ),
    *(
        "rootElement",
        "documentDescribes",
        "relationships",
        "relationshipType",
        "spdxId",
        "type",
    ),
    *(
        "creationInfo",
        "creators",
        "verifier",
        "verifiedLevels",
        "timeVerified",
        "controls",
    ),
    *(
        "runDetails",
        "buildDefinition",
        "steps",
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=16,
)
TYPES = {
    "slsa-provenance": [
        "https://slsa.dev/provenance/v1",
        "https://slsa.dev/provenance/v0.2",
        "https://slsa.dev/provenance/v0.1",
    ],
    "slsa-vsa": ["https://slsa.dev/verification_summary/v1", "https://slsa.dev/verification_summary/v0.2"],
    "sbom": ["https://cyclonedx.org/bom", "https://spdx.dev/Document/v2.3", "https://spdx.dev/Document/v3"],
}


def rows(fact: EvidenceFact) -> dict[str, str]:
    return dict(describe_fact(fact))


@given(st.sampled_from(KINDS), st.dictionaries(st.text(max_size=4), JSON, max_size=5) | JSON, st.data())
def test_hostile_predicates_stay_printable_and_short(kind: str, said: Any, data: st.DataObject) -> None:
    predicate_type = data.draw(st.sampled_from(TYPES.get(kind, [""])) | st.text(max_size=20))
    fact = build(
        said=said if isinstance(said, dict) else {"x": said}, kind=kind, predicate_type=predicate_type
    )
    for label, value in describe_fact(fact):
        assert label.isascii() and label.isprintable()
        assert value.isascii() and value.isprintable()
        assert len(value) <= MAX_VALUE * 10 + 40


@given(
    st.text(),
    st.text(),
    st.dictionaries(st.sampled_from(["sourceRepositoryUri", "runnerEnvironment"]), st.text()),
)
def test_hostile_certificates_stay_printable(identity: str, issuer: str, claims: dict[str, str]) -> None:
    fact = build(Signer("certificate", issuer, identity, claims=claims, instance="public-good"))
    assert all(value.isascii() and value.isprintable() for _, value in describe_fact(fact))


def test_a7_bidi_escapes_and_padding_show() -> None:
    said = predicate("https://b.example/\u202e\x1b[2Jevil" + "x" * 60_000)
    shown = rows(build(said=said))["Builder says: builder"]
    assert shown.startswith("https://b.example/\\u{202e}\\u{1b}[2Jevilxx")
    assert shown.endswith("more characters)")
    assert len(shown) < 400


def test_what_was_verified_stands_apart_from_what_the_builder_says() -> None:
    shown = rows(build(said=predicate(parameters={"inputs": {"a": "b"}})))
    assert shown["Signed by"] == OWN
    assert shown["Source repository"] == APP
    assert shown["Commit"] == COMMIT
    assert shown["Transparency log"] == "entry verified"
    assert "Builder says: commit" not in shown  # the certificate says the same
    assert shown["Builder says: parameters"] == "inputs = {'a': 'b'}"


def test_a_claim_that_no_certificate_confirms_is_labelled() -> None:
    said = predicate(source="https://github.com/mallory/app")
    shown = rows(build(github(), said))
    assert shown["Source repository"] == APP
    assert shown["Builder says: source repository"] == "https://github.com/mallory/app"
    key = rows(build(Signer("key", key_digest="c" * 64), signed_at=0, logged=False))
    assert "Source repository" not in key
    assert "Transparency log" not in key
    assert key["Signed at"] == "no proven time"
    assert key["Builder says: source repository"] == APP


def test_a_predicate_that_cannot_be_read_is_said_to_be_so() -> None:
    shown = rows(build(said={"buildDefinition": []}))
    assert "another type" in shown["Builder says: something unreadable"]
    assert shown["Signed by"] == OWN


def test_an_sbom_is_summarised_as_its_makers_word() -> None:
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "metadata": {
            "timestamp": "2026-11-20T10:00:00Z",
            "component": {"name": "app", "version": "1.2.3"},
            "tools": {"components": [{"name": "syft", "version": "1.0"}]},
        },
        "components": [{"name": "a", "components": [{"name": "b"}]}, {"name": "c"}],
    }
    shown = rows(build(said=bom, kind=SBOM, predicate_type="https://cyclonedx.org/bom/v1.6", signed_at=AT))
    assert shown["Signer says: format"] == "CycloneDX 1.6"
    assert shown["Signer says: made for"] == "app 1.2.3"
    assert shown["Signer says: components listed"] == "3"
    assert shown["Signer says: made with"] == "syft 1.0"


def test_spdx_of_both_versions_is_summarised() -> None:
    two = {
        "spdxVersion": "SPDX-2.3",
        "name": "doc",
        "creationInfo": {
            "created": "2026-11-20T10:00:00Z",
            "creators": ["Tool: syft-1.0", "Organization: acme"],
        },
        "packages": [{"SPDXID": "SPDXRef-a", "name": "app", "versionInfo": "1.2.3"}, {"SPDXID": "SPDXRef-b"}],
        "relationships": [{"relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-a"}],
    }
    found = summarise_sbom("https://spdx.dev/Document/v2.3", two)
    assert (found.format, found.version, found.component, found.components) == ("SPDX", "2.3", "app 1.2.3", 2)
    assert found.tool == "syft-1.0"
    graph = [
        {
            "type": "CreationInfo",
            "specVersion": "3.0.1",
            "created": "2026-11-20T10:00:00Z",
            "createdUsing": ["t"],
        },
        {"type": "Tool", "spdxId": "t", "name": "syft"},
        {"type": "SpdxDocument", "spdxId": "d", "name": "doc", "rootElement": ["s"]},
        {"type": "software_Sbom", "spdxId": "s", "rootElement": ["p"]},
        {"type": "software_Package", "spdxId": "p", "name": "app", "software_packageVersion": "1.2.3"},
    ]
    found = summarise_sbom("https://spdx.dev/Document/v3", {"@graph": graph})
    assert (found.version, found.component, found.components, found.tool) == ("3.0.1", "app 1.2.3", 1, "syft")
