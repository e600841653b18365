"""Evidence: what others' statements say, which options rules may have, and which facts meet them."""

# ruff: noqa: E501, PLR0915 -- one vector a line reads as the table it is
# fmt: off
from __future__ import annotations

import hashlib
import json
from typing import Any

from placet.core.encoding import format_time
from placet.testing.world import DEPLOY_TARGET, evidence
from vector_sources.book import AT, Book, b64, world

V1, V02, V01 = (f"https://slsa.dev/provenance/{version}" for version in ("v1", "v0.2", "v0.1"))
VSA, OLD_VSA = "https://slsa.dev/verification_summary/v1", "https://slsa.dev/verification_summary/v0.2"
SOURCE = "https://github.com/slsa-framework/slsa-source-poc/source-provenance/v1-draft"
WORKFLOW = "https://actions.github.io/buildtypes/workflow/v1"
ISSUER = "https://token.actions.githubusercontent.com"
RUNNER = "https://github.com/actions/runner/github-hosted"
APP = "https://github.com/acme/app"
OWN = f"{APP}/.github/workflows/release.yml@refs/tags/v1.2.3"
COMMIT, OTHER_COMMIT = "a" * 40, "b" * 40
IMAGE = "sha256:" + hashlib.sha256(b"image").hexdigest()
KEY, OTHER_KEY = "c" * 64, "d" * 64
DAY = 86_400

CLAIMS = {
    "sourceRepositoryUri": APP,
    "sourceRepositoryRef": "refs/tags/v1.2.3",
    "sourceRepositoryDigest": COMMIT,
    "buildConfigUri": OWN,
    "runnerEnvironment": "github-hosted",
}


def _statement(**changes: Any) -> Any:
    return {"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": "app", "digest": {"sha256": "0" * 64}}], "predicateType": V1, "predicate": {}} | changes


def _v1(**changes: Any) -> Any:
    """Returns what GitHub writes about a release of acme/app."""
    said = {"builder": OWN, "repository": APP, "ref": "refs/tags/v1.2.3", "commit": COMMIT, "path": ".github/workflows/release.yml", "type": WORKFLOW, "more": {}} | changes
    return {
        "buildDefinition": {
            "buildType": said["type"],
            "externalParameters": {"workflow": {"repository": said["repository"], "ref": said["ref"], "path": said["path"]}, **said["more"]},
            "resolvedDependencies": [{"uri": f"git+{said['repository']}@{said['ref']}", "digest": {"gitCommit": said["commit"]}}],
        },
        "runDetails": {"builder": {"id": said["builder"]}},
    }


def _github(identity: str = OWN, **changes: Any) -> Any:
    """Returns a certificate of GitHub's; claims may be changed, or left out with None."""
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return {"kind": "certificate", "issuer": ISSUER, "identity": identity, "claims": claims, "instance": "public-good"}


def _fact(kind: str, predicate_type: str, predicate: Any, signer: Any, **changes: Any) -> Any:
    fact = {"kind": kind, "digest": evidence(kind.encode()).digest, "subjects": [IMAGE], "signer": signer, "predicateType": predicate_type, "predicate": predicate, "logged": True, "signedAt": AT - 60}
    return fact | changes


def _build(signer: Any = None, predicate: Any = None, **changes: Any) -> Any:
    return _fact("slsa-provenance", V1, predicate or _v1(), signer or _github(), **changes)


def _inputs(kind: str, options: Any, *facts: Any, named: str = "") -> Any:
    """Returns a rule, an action that names all this evidence, and what was verified of it."""
    contents = [f["kind"] for f in facts] if not named else [named]
    items = [(kind, evidence(content.encode())) for content in dict.fromkeys(contents)]
    request = world().request_deploy(evidence=items)
    return {"payload": b64(request.payload), "kind": kind, "options": options, "facts": list(facts)}


def evidences() -> Book:
    """Returns the vectors of what evidence means."""
    book = Book("evidence")
    _statements(book)
    _provenances(book)
    _options(book)
    _signers(book)
    _builds(book)
    _summaries(book)
    _sources(book)
    _others(book)
    return book


def _statements(book: Book) -> None:
    def no(name: str, description: str, payload: bytes, reason: str, ids: str = "EVD-01") -> None:
        book.refuse("attestation", name, ids, description, {"payload": b64(payload)}, reason, category="malformed")

    def text(value: Any) -> bytes:
        return json.dumps(value, indent=2).encode()

    zero = f"sha256:{'0' * 64}"
    book.accept("attestation", "v1", "EVD-01 EVD-02", "Pretty-printed, with a fraction and a member that we do not know.", {"payload": b64(text(_statement(predicate={"score": 0.5}, note=["x"])))}, predicateType=V1, subjects=[zero])
    old = _statement(_type="https://in-toto.io/Statement/v0.1", subject=[{"name": "a", "digest": {"sha256": "0" * 64, "gitCommit": COMMIT, "gce_image_id": "8970095005306000053"}}])
    book.accept("attestation", "v01", "EVD-01 EVD-02", "Version 0.1, several digests of one subject, one of an algorithm of its own.", {"payload": b64(text(old))}, subjects=["gce_image_id:8970095005306000053", f"gitCommit:{COMMIT}", zero])
    book.accept("attestation", "no-predicate", "EVD-01", "A type that says all there is.", {"payload": b64(text(_statement(predicate=None)))}, predicateType=V1)
    no("link", "Another type of document.", text(_statement(_type="link")), "unsupported-type")
    no("duplicate-member", "One subject for each parser (attack A15).", b'{"_type":"https://in-toto.io/Statement/v1","subject":[],' + text(_statement())[1:], "duplicate-member")
    no("nan", "A number that JSON does not have.", text(_statement(predicate={"x": float("nan")})), "number-not-allowed")
    no("infinite", "A number beyond a double.", text(_statement()).replace(b'"predicate": {}', b'"predicate": {"x": 1e999}'), "number-not-allowed")
    no("deep", "Sixty-five levels (attack A15).", text(_statement()).replace(b'"predicate": {}', b'"predicate": {"x": ' + b"[" * 70 + b"]" * 70 + b"}"), "too-deep")
    no("surrogate", "Half a character.", text(_statement()).replace(b'"predicate": {}', b'"predicate": {"x": "\\ud800"}'), "text-not-allowed")
    no("no-subject", "About nothing.", text(_statement(subject=[])), "bad-value")
    no("predicate-list", "A predicate that is a list.", text(_statement(predicate=[])), "wrong-type")
    for name, digest in (("upper-case", "A" * 64), ("short", "0" * 63), ("number", 5)):
        no(f"digest-{name}", "A digest in another spelling.", text(_statement(subject=[{"digest": {"sha256": digest}}])), "bad-digest", "EVD-02")
    no("digest-of-colons", "An algorithm that could be read as another with its digest.", text(_statement(subject=[{"digest": {"sha256:" + "0" * 63: "0"}}])), "bad-digest", "EVD-02")


def _provenances(book: Book) -> None:
    def yes(name: str, description: str, version: str, predicate: Any, ids: str = "EVD-03", **facts: Any) -> None:
        book.accept("provenance", name, ids, description, {"predicateType": version, "predicate": predicate}, **facts)

    def no(name: str, description: str, version: str, predicate: Any, reason: str, **more: Any) -> None:
        book.refuse("provenance", name, "EVD-03", description, {"predicateType": version, "predicate": predicate}, reason, **more)

    where = {"source": APP, "ref": "refs/tags/v1.2.3", "commit": COMMIT, "entryPoint": ".github/workflows/release.yml"}
    yes("v1-github", "GitHub's workflow build type.", V1, _v1(), builder=OWN, buildType=WORKFLOW, parameters={}, **where)
    unknown = _v1(type="https://builder.example/v1")
    yes("v1-unknown-type", "A build type that nobody told us about says nothing of its source.", V1, unknown, source="", commit="", parameters=unknown["buildDefinition"]["externalParameters"])
    more = _v1(more={"inputs": {"target": "prod"}})
    more["buildDefinition"]["externalParameters"]["workflow"]["debug"] = "1"
    yes("v1-more-parameters", "Whatever is not the place of the source remains.", V1, more, parameters={"inputs": {"target": "prod"}, "workflow": {"debug": "1"}})
    google = _v1(type="https://cloud.google.com/build/gcb-buildtypes/google-worker/v1")
    google["buildDefinition"]["externalParameters"] = {"buildConfigSource": {"repository": f"git+{APP}", "ref": "refs/tags/v1.2.3", "path": "cloudbuild.yaml"}, "substitutions": {"_X": "1"}}
    yes("v1-google", "Google Cloud Build.", V1, google, source=APP, commit=COMMIT, entryPoint="cloudbuild.yaml", parameters={"substitutions": {"_X": "1"}})
    boxed = _v1(type="https://slsa.dev/container-based-build/v0.1?draft")
    boxed["buildDefinition"]["externalParameters"] = {"source": {"uri": f"git+{APP}@refs/tags/v1.2.3", "digest": {"sha1": COMMIT}}, "configPath": "build.toml", "builderImage": {"uri": "x"}}
    yes("v1-container-based", "A container as the builder.", V1, boxed, source=APP, commit=COMMIT, entryPoint="build.toml", parameters={"builderImage": {"uri": "x"}})
    config = {"uri": f"git+{APP}@refs/tags/v1.2.3", "digest": {"sha1": COMMIT}, "entryPoint": ".github/workflows/release.yml"}
    v02 = {"builder": {"id": OWN}, "buildType": "https://b.example", "invocation": {"configSource": config, "parameters": {"x": "1"}}, "materials": [config]}
    yes("v02", "Version 0.2 names its source for every build type.", V02, v02, builder=OWN, parameters={"x": "1"}, **where)
    v01 = {"builder": {"id": "https://cloudbuild.googleapis.com/GoogleHostedWorker@v0.3"}, "recipe": {"type": "https://cloudbuild.googleapis.com/CloudBuildYaml@v0.1", "definedInMaterial": 0, "entryPoint": "cloudbuild.yaml", "arguments": {}}, "materials": [{"uri": f"{APP}/commit/{COMMIT}", "digest": {"sha1": COMMIT}}]}
    yes("v01-google", "Version 0.1, as Google Cloud Build wrote it.", V01, v01, source=APP, ref="", commit=COMMIT, entryPoint="cloudbuild.yaml")
    for name, uri in (("git-suffix", f"git+{APP}.git"), ("host-case", "https://GitHub.com/acme/app")):
        yes(f"source-{name}", "Another spelling of the same repository.", V1, _v1(repository=uri), "EVD-06", source=APP)
    hostile = ("https://github.com@evil.example/acme/app", "https://user@github.com/acme/app", "https://github.com/acme/../evil/app", "https://github.com//acme/app", "https://github.com/acme/%61pp", f"{APP}?ref=x", f"{APP}#x", "https://github.com", "file:///acme/app", f"{APP}/", "https://github.com/acme/app\u200b")
    for i, uri in enumerate(hostile):
        yes(f"no-repository-{i}", "What is no repository's URI names no repository.", V1, _v1(repository=uri), "EVD-06", source="")
    twice = _v1()
    twice["buildDefinition"]["resolvedDependencies"] *= 2
    twice["buildDefinition"]["resolvedDependencies"][1] = twice["buildDefinition"]["resolvedDependencies"][0] | {"digest": {"gitCommit": OTHER_COMMIT}}
    no("v1-two-commits", "Two commits of one source.", V1, twice, "bad-value", category="malformed")
    no("v02-two-commits", "The materials name another commit.", V02, v02 | {"materials": [config | {"digest": {"sha1": OTHER_COMMIT}}]}, "bad-value")
    no("builder-type", "A builder that is a text.", V02, v02 | {"builder": "x"}, "wrong-type")
    no("version", "A version that does not exist yet.", "https://slsa.dev/provenance/v2", _v1(), "evidence-unsupported", category="indeterminate")


def _options(book: Book) -> None:
    def yes(name: str, kind: str, options: Any, ids: str = "EVD-04") -> None:
        book.accept("evidence-options", name, ids, "Options that a rule may have.", {"kind": kind, "options": options})

    def no(name: str, description: str, kind: str, options: Any, ids: str = "EVD-04") -> None:
        book.refuse("evidence-options", name, ids, description, {"kind": kind, "options": options}, "bad-policy", category="malformed")

    build = {"builders": [RUNNER], "source": APP}
    person = {"issuer": ISSUER, "identity": "alice@example.com"}
    yes("provenance", "slsa-provenance", build)
    yes("provenance-all", "slsa-provenance", {"builders": [{"id": RUNNER, "level": 3, "instance": "sigstore/github.json", "unlogged": True, "self_hosted": True}, {"id": "https://b.example/*", "level": 3, "key": KEY}, {"id": "https://c.example", "level": 3, "issuer": ISSUER, "signer": f"{APP}/*"}], "min_level": 3, "source": [f"git+{APP}.git", "https://github.com/acme/*"], "ref": "refs/tags/v*", "commit": COMMIT, "build_types": [WORKFLOW], "workflow": ".github/workflows/*.yml", "parameters": {"inputs": {"a": "x*", "b": True, "c": [1]}, "vars": "**"}})
    yes("any-source", "slsa-provenance", {"builders": [RUNNER], "any_source": True})
    yes("vsa", "slsa-vsa", {"verifiers": [{"id": "https://v.example", "key": KEY}], "levels": ["SLSA_BUILD_LEVEL_3", "OURS"], "resource": "pkg:**", "max_age": "7d"})
    yes("source", "slsa-source", {"signers": [{"key": KEY}], "source": APP, "builders": [RUNNER], "min_level": 4})
    yes("sbom", "sbom", {"signers": [person], "formats": ["cyclonedx"]})
    yes("attestation", "attestation", {"signers": [{"issuer": ISSUER, "identity_pattern": f"{APP}/**"}], "predicate_type": "https://x.example/v1"})
    yes("signature", "signature", {"signers": [person | {"instance": "sigstore/own.json", "unlogged": True}]})
    yes("in-toto", "in-toto", {"layout": "layouts/app.layout", "owners": ["layouts/keys/ann.pub"]})
    no("kind", "A kind that there is not.", "slsa", {})
    no("unknown", "An option with a slip in its name.", "slsa-provenance", build | {"minlevel": 3})
    no("no-builders", "Everybody's builder.", "slsa-provenance", {"source": APP})
    no("empty-builders", "Nobody's builder.", "slsa-provenance", build | {"builders": []})
    no("no-source", "A builder that builds for everybody, and no source.", "slsa-provenance", {"builders": [RUNNER]})
    no("both-sources", "A source, and any.", "slsa-provenance", build | {"any_source": True})
    no("source-with-ref", "A reference where only the repository belongs.", "slsa-provenance", build | {"source": f"{APP}@refs/heads/main"}, "EVD-04 EVD-06")
    no("source-prefix", "A source that is no repository.", "slsa-provenance", build | {"source": "github.com/acme"}, "EVD-04 EVD-06")
    no("short-ref", "A tag or a branch?", "slsa-provenance", build | {"ref": "v1"}, "EVD-04 EVD-10")
    no("short-commit", "A commit that is not spelled in full.", "slsa-provenance", build | {"commit": "abc1234"})
    no("unreachable", "A level that no builder of the rule has.", "slsa-provenance", build | {"builders": [{"id": RUNNER, "level": 1}], "min_level": 3}, "EVD-04 EVD-08")
    no("level-4", "A build level that SLSA does not have.", "slsa-provenance", build | {"min_level": 4})
    no("builder-without-signer", "Anybody could sign in this builder's name.", "slsa-provenance", build | {"builders": ["https://b.example/x"]}, "EVD-04 EVD-07")
    no("builder-slip", "A slip within a builder.", "slsa-provenance", build | {"builders": [{"id": RUNNER, "lvl": 3}]})
    no("parameters", "A parameter that JSON numbers cannot hold alike.", "slsa-provenance", build | {"parameters": {"x": None}})
    no("no-signers", "An SBOM by anybody.", "sbom", {})
    no("issuer-alone", "Everybody who has an account.", "signature", {"signers": [{"issuer": ISSUER}]}, "EVD-04 EVD-05")
    no("everybody", "A pattern that fits everybody.", "signature", {"signers": [{"issuer": ISSUER, "identity_pattern": "**"}]}, "EVD-04 EVD-05")
    no("identity-alone", "An identity that anybody's issuer may assert.", "signature", {"signers": [{"identity": "a@b.example"}]}, "EVD-04 EVD-05")
    no("key-and-issuer", "A key and an identity.", "signature", {"signers": [person | {"key": KEY}]}, "EVD-04 EVD-05")
    no("key-spelling", "A key that is no digest.", "signature", {"signers": [{"key": "ABC"}]})
    no("instance", "An instance that is no file of the trust root.", "signature", {"signers": [person | {"instance": "https://fulcio.example"}]})
    no("predicate-of-a-kind", "Provenance as if it were any attestation.", "attestation", {"signers": [{"key": KEY}], "predicate_type": V1})
    no("formats", "A format that is not read.", "sbom", {"signers": [{"key": KEY}], "formats": ["swid"]})
    no("max-age", "An age without a unit.", "slsa-vsa", {"verifiers": [{"id": "x", "key": KEY}], "levels": ["A"], "max_age": "30"})
    no("layout", "A layout outside its folder.", "in-toto", {"layout": "people.json", "owners": ["layouts/keys/ann.pub"]})


def _signers(book: Book) -> None:
    person = {"kind": "certificate", "issuer": ISSUER, "identity": "alice@example.com", "claims": {}, "instance": "public-good"}
    rule: Any = {"signers": [{"issuer": ISSUER, "identity": "alice@example.com"}]}

    def signed(signer: Any, **changes: Any) -> Any:
        return _fact("signature", "", {}, signer, **changes)

    def no(name: str, description: str, signer: Any, reason: str = "evidence-signer", options: Any = rule, **changes: Any) -> None:
        book.refuse("evidence", f"signer-{name}", "EVD-05", description, _inputs("signature", options, signed(signer, **changes)), reason, category="policy")

    def yes(name: str, description: str, signer: Any, options: Any = rule, **changes: Any) -> None:
        fact = signed(signer, **changes)
        book.accept("evidence", f"signer-{name}", "EVD-05", description, _inputs("signature", options, fact), met=[[fact["digest"], None]])

    yes("certificate", "Who the rule names.", person)
    yes("key", "The key that the rule names, which needs no log.", {"kind": "key", "keyDigest": KEY}, {"signers": [{"key": KEY}]}, logged=False)
    yes("pattern", "An identity that fits.", _github(), {"signers": [{"issuer": ISSUER, "identity_pattern": f"{APP}/.github/workflows/*@refs/tags/*"}]})
    yes("instance", "An own instance that the rule names.", person | {"instance": "sigstore/own.json"}, {"signers": [rule["signers"][0] | {"instance": "sigstore/own.json"}]})
    yes("unlogged", "A rule that does without a log.", person, {"signers": [rule["signers"][0] | {"unlogged": True}]}, logged=False)
    no("other", "Somebody else.", person | {"identity": "mallory@example.com"})
    no("other-issuer", "The same name at another issuer.", person | {"issuer": "https://evil.example"})
    no("wildcard-in-exact", "An exact identity is no pattern.", person, options={"signers": [{"issuer": ISSUER, "identity": "*@example.com"}]})
    no("prefix", "A workflow of acme/app-evil.", _github(OWN.replace("/app/", "/app-evil/")), options={"signers": [{"issuer": ISSUER, "identity_pattern": f"{APP}/.github/workflows/*@refs/tags/*"}]})
    no("other-key", "Another key.", {"kind": "key", "keyDigest": OTHER_KEY}, options={"signers": [{"key": KEY}]})
    no("own-instance", "An own Sigstore that speaks for another issuer's people.", person | {"instance": "sigstore/own.json"})
    no("nobody", "A fact without a signer.", None)
    no("unlogged-refused", "No log has seen it.", person, "evidence-not-logged", logged=False)


def _builds(book: Book) -> None:
    own: Any = {"builders": [{"id": f"{APP}/.github/workflows/release.yml@refs/tags/*", "level": 2}], "source": APP}
    hosted: Any = {"builders": [{"id": RUNNER, "level": 2}], "source": APP}

    def yes(name: str, ids: str, description: str, fact: Any, options: Any = own, level: int = 2) -> None:
        book.accept("evidence", f"build-{name}", ids, description, _inputs("slsa-provenance", options, fact), met=[[fact["digest"], level]])

    def no(name: str, ids: str, description: str, fact: Any, reason: str, options: Any = own, category: str = "policy") -> None:
        book.refuse("evidence", f"build-{name}", ids, description, _inputs("slsa-provenance", options, fact), reason, category=category)

    by_runner = _v1(builder=RUNNER)
    yes("own-workflow", "EVD-06 EVD-07 EVD-08 EVD-10 EVD-11", "The workflow that the provenance names has signed it.", _build())
    yes("runner", "EVD-07 EVD-08", "GitHub's runner, and a workflow of the source signed.", _build(predicate=by_runner), hosted)
    no("other-builder", "EVD-07", "A builder that the rule does not trust.", _build(predicate=_v1(builder="https://evil.example")), "evidence-builder")
    no("claimed-builder", "EVD-07", "Another workflow signed in this one's name.", _build(_github(f"{APP}/.github/workflows/test.yml@refs/tags/v1.2.3")), "evidence-builder")
    no("reusable-of-a-fork", "EVD-07", "A reusable workflow of an attacker's fork.", _build(_github("https://github.com/mallory/app/.github/workflows/release.yml@refs/tags/v1.2.3"), by_runner), "evidence-builder", hosted)
    no("signer-prefix", "EVD-06 EVD-07", "A workflow of a repository whose name begins alike.", _build(_github("https://github.com/acme/app-evil/.github/workflows/release.yml@refs/tags/v1.2.3"), by_runner), "evidence-builder", hosted)
    no("other-issuer", "EVD-07", "The workflow's name at another issuer.", _build(_github() | {"issuer": "https://evil.example"}), "evidence-builder")
    no("by-key", "EVD-07", "A key that says it is GitHub.", _build({"kind": "key", "keyDigest": KEY}), "evidence-builder")
    no("self-hosted", "EVD-07", "A self-hosted runner posing as GitHub's.", _build(_github(runnerEnvironment="self-hosted"), by_runner), "evidence-builder", hosted)
    no("self-hosted-workflow", "EVD-07", "The right workflow on somebody's own runner.", _build(_github(runnerEnvironment="self-hosted")), "evidence-builder")
    no("runner-not-said", "EVD-07", "The ID says hosted, the certificate nothing.", _build(_github(runnerEnvironment=None), by_runner), "evidence-builder", hosted)
    trusted = {"builders": [own["builders"][0] | {"self_hosted": True}], "source": APP}
    yes("self-hosted-trusted", "EVD-07", "An administrator trusts the own runners.", _build(_github(runnerEnvironment="self-hosted")), trusted)
    no("certificate-of-another-source", "EVD-07", "The certificate is for another repository.", _build(_github(sourceRepositoryUri="https://github.com/mallory/app")), "evidence-source")
    no("certificate-without-source", "EVD-07", "The certificate names no repository.", _build(_github(sourceRepositoryUri=None)), "evidence-source")
    no("certificate-of-another-ref", "EVD-07", "The predicate names a release, the certificate a branch.", _build(_github(sourceRepositoryRef="refs/heads/main")), "evidence-source")
    no("certificate-of-another-commit", "EVD-07", "The certificate is for another commit.", _build(_github(sourceRepositoryDigest=OTHER_COMMIT)), "evidence-source")
    no("certificate-of-another-workflow", "EVD-07", "The certificate names another workflow than the predicate.", _build(_github(buildConfigUri=f"{APP}/.github/workflows/test.yml@refs/tags/v1.2.3")), "evidence-source")
    no("unlogged", "EVD-05 EVD-07", "No log has seen it.", _build(logged=False), "evidence-not-logged")
    no("own-instance", "EVD-05 EVD-07", "An own Sigstore that speaks for GitHub.", _build(_github() | {"instance": "sigstore/own.json"}), "evidence-signer")
    other = {"id": "https://b.example/worker", "level": 3, "key": KEY}
    theirs = _v1(builder="https://b.example/worker")
    yes("other-with-key", "EVD-07", "Another builder, by its key.", _build({"kind": "key", "keyDigest": KEY}, theirs), {"builders": [other], "source": APP, "min_level": 3}, 3)
    no("other-with-other-key", "EVD-07", "Another builder, by another key.", _build({"kind": "key", "keyDigest": OTHER_KEY}, theirs), "evidence-signer", {"builders": [other], "source": APP})
    two = {"builders": [{"id": RUNNER, "level": 3, "key": KEY}, {"id": RUNNER, "level": 2}], "source": APP, "min_level": 2}
    yes("lower-of-two", "EVD-08", "Two entries for one builder: the level of the one that holds.", _build(predicate=by_runner), two)
    mixed: Any = {"builders": [{"id": RUNNER, "level": 1}, {"id": f"{APP}/.github/workflows/**", "level": 3}], "source": APP}
    yes("level-1", "EVD-08", "A builder that is trusted little, where that is enough.", _build(predicate=by_runner), mixed, 1)
    yes("level-of-the-rule", "EVD-08", "Whoever names a builder beside min_level trusts it that far.", _build(predicate=by_runner), {"builders": [RUNNER], "source": APP, "min_level": 3}, 3)
    yes("build-type-listed", "EVD-09", "A build type of the rule.", _build(), own | {"build_types": [WORKFLOW]})
    no("build-type", "EVD-09", "Another build type.", _build(), "evidence-build-type", own | {"build_types": ["https://b.example/v1"]})
    no("other-source", "EVD-06 EVD-10", "Another repository.", _build(), "evidence-source", own | {"source": "https://github.com/acme/other"})
    no("source-prefix", "EVD-06 EVD-10", "A rule for acme/ap is not one for acme/app.", _build(), "evidence-source", own | {"source": "https://github.com/acme/ap"})
    no("source-case", "EVD-06 EVD-10", "Paths differ by case.", _build(), "evidence-source", own | {"source": "https://github.com/Acme/app"})
    yes("exact", "EVD-10", "Tag, commit and workflow of the rule.", _build(), own | {"ref": "refs/tags/v*", "commit": COMMIT, "workflow": ".github/workflows/release.yml"})
    no("ref", "EVD-10", "A branch where a tag is expected.", _build(), "evidence-source", own | {"ref": "refs/heads/main"})
    branch = _v1(ref="refs/heads/tags/v1.2.3")
    no("branch-like-a-tag", "EVD-10", "A branch that is named like a tag.", _build(_github(sourceRepositoryRef="refs/heads/tags/v1.2.3"), branch), "evidence-source", own | {"ref": "refs/tags/v*"})
    no("commit", "EVD-10", "Another commit.", _build(), "evidence-source", own | {"commit": OTHER_COMMIT})
    no("workflow", "EVD-10", "Another workflow of the same repository.", _build(), "evidence-source", own | {"workflow": ".github/workflows/publish.yml"})
    unknown = _v1(type="https://b.example/v1", builder="https://b.example/worker")
    no("source-not-said", "EVD-03 EVD-10", "A build type that does not say where its source is.", _build({"kind": "key", "keyDigest": KEY}, unknown), "evidence-source", {"builders": [other], "source": APP})
    told = _v1(more={"inputs": {"target": "prod"}})
    no("parameter", "EVD-11", "An input that nobody expected.", _build(predicate=told), "evidence-parameters")
    yes("parameter-listed", "EVD-11", "An input that the rule lists.", _build(predicate=told), own | {"parameters": {"inputs": {"target": "pr*"}}})
    yes("empty-parameter", "EVD-11", "An empty input tells nothing.", _build(predicate=_v1(more={"inputs": {}})))
    no("parameter-value", "EVD-11", "Another value.", _build(predicate=told), "evidence-parameters", own | {"parameters": {"inputs": {"target": "test"}}})
    no("parameter-missing", "EVD-11", "An input that the rule expects.", _build(), "evidence-parameters", own | {"parameters": {"inputs": {"target": "prod"}}})
    no("parameter-inside", "EVD-11", "One more input beside the listed one.", _build(predicate=_v1(more={"inputs": {"target": "prod", "debug": "1"}})), "evidence-parameters", own | {"parameters": {"inputs": {"target": "prod"}}})
    no("parameter-type", "EVD-11", "1 is not true.", _build(predicate=_v1(more={"inputs": {"x": 1}})), "evidence-parameters", own | {"parameters": {"inputs": {"x": True}}})
    no("not-all-subjects", "EVD-07 POL-11", "It does not cover the artifact.", _build(subjects=["sha256:" + "0" * 64]), "evidence-subject")
    no("stale-options", "EVD-04", "A snapshot with options of another version.", _build(), "bad-policy", {"min_level": 3}, "malformed")
    no("level", "EVD-08", "A builder that is trusted less than the rule requires.", _build(predicate=by_runner), "evidence-level", mixed | {"min_level": 3})


def _summaries(book: Book) -> None:
    verifier = "https://verifier.example"
    rule: Any = {"verifiers": [{"id": verifier, "key": KEY}], "levels": ["SLSA_BUILD_LEVEL_2"]}

    def summary(version: str = VSA, signer: Any = None, signed_at: int = 0, **changes: Any) -> Any:
        said = {"verifier": {"id": verifier}, "timeVerified": format_time(AT - DAY), "resourceUri": DEPLOY_TARGET, "policy": {"uri": "https://p.example"}, "verificationResult": "PASSED", "verifiedLevels": ["SLSA_BUILD_LEVEL_3", "OURS"]} | changes
        said = {name: value for name, value in said.items() if value is not None}
        return _fact("slsa-vsa", version, said, signer or {"kind": "key", "keyDigest": KEY}, logged=False, signedAt=signed_at)

    def yes(name: str, ids: str, description: str, fact: Any, options: Any = rule, level: int | None = 3) -> None:
        book.accept("evidence", f"vsa-{name}", ids, description, _inputs("slsa-vsa", options, fact), met=[[fact["digest"], level]])

    def no(name: str, ids: str, description: str, fact: Any, reason: str, options: Any = rule, category: str = "policy") -> None:
        book.refuse("evidence", f"vsa-{name}", ids, description, _inputs("slsa-vsa", options, fact), reason, category=category)

    yes("good", "EVD-12 EVD-13 EVD-14 EVD-15 EVD-16", "A summary of this target, from yesterday.", summary())
    old = {"verifier": {"id": verifier}, "time_verified": "2026-11-23T11:02:00.5+01:00", "resource_uri": DEPLOY_TARGET, "verification_result": "PASSED", "policy_level": "SLSA_LEVEL_3"}
    yes("v02", "EVD-12 EVD-15", "Version 0.2, its time with a fraction and an offset.", _fact("slsa-vsa", OLD_VSA, old, {"kind": "key", "keyDigest": KEY}), rule | {"levels": ["SLSA_LEVEL_2"]}, None)
    no("version", "EVD-12", "A version that does not exist yet.", summary("https://slsa.dev/verification_summary/v2"), "evidence-unsupported", category="indeterminate")
    no("time-spelling", "EVD-12", "A time in words.", summary(timeVerified="yesterday"), "bad-time", category="malformed")
    no("verifier", "EVD-13", "Another verifier.", summary(verifier={"id": "https://evil.example"}), "evidence-signer")
    no("key", "EVD-13", "Somebody signed in the verifier's name.", summary(signer={"kind": "key", "keyDigest": OTHER_KEY}), "evidence-signer")
    no("resource", "EVD-14", "A summary copied from another resource (attack A20).", summary(resourceUri="k8s://test/ns/shop/deploy/app"), "evidence-resource")
    package = "pkg:oci/app"
    yes("named-resource", "EVD-14", "A resource that the rule names.", summary(resourceUri=package), rule | {"resource": "pkg:oci/*"})
    no("target-is-not-the-package", "EVD-14", "The rule names a package.", summary(), "evidence-resource", rule | {"resource": "pkg:oci/*"})
    no("failed", "EVD-15", "FAILED.", summary(verificationResult="FAILED"), "evidence-level")
    no("level", "EVD-15", "A lower level.", summary(verifiedLevels=["SLSA_BUILD_LEVEL_1"]), "evidence-level")
    no("other-track", "EVD-15", "The level of another track.", summary(verifiedLevels=["SLSA_SOURCE_LEVEL_3"]), "evidence-level")
    no("own-level-prefix", "EVD-15", "A level that begins alike.", summary(verifiedLevels=["OURS_NOT"]), "evidence-level", rule | {"levels": ["OURS"]})
    yes("own-level", "EVD-15", "A level of one's own.", summary(), rule | {"levels": ["OURS", "SLSA_BUILD_LEVEL_3"]})
    no("stale", "EVD-16", "Two months old (attack A20).", summary(timeVerified=format_time(AT - 61 * DAY)), "evidence-stale")
    no("older-than-the-rule-says", "EVD-16", "Yesterday is too long ago here.", summary(), "evidence-stale", rule | {"max_age": "12h"})
    no("future", "EVD-16", "Ten minutes in the future.", summary(timeVerified=format_time(AT + 600)), "evidence-time")
    yes("clocks", "EVD-16", "Two clocks need not agree to the second.", summary(timeVerified=format_time(AT + 60)))
    no("no-time", "EVD-16", "It does not say when.", summary(timeVerified=None), "evidence-time")
    yes("signing-time", "EVD-16", "The log says when.", summary(timeVerified=None, signed_at=AT - DAY))


def _sources(book: Book) -> None:
    rule: Any = {"signers": [{"key": KEY}], "source": APP, "builders": [f"{APP}/.github/workflows/release.yml@refs/tags/*"]}
    signer = {"kind": "key", "keyDigest": KEY}
    said = {"prev_commit": OTHER_COMMIT, "repo_uri": APP, "activity_type": "pr_merge", "actor": "ann", "branch": "refs/heads/main", "created_on": "2026-11-20T10:00:00Z", "controls": [{"name": "REVIEW_ENFORCED"}]}

    def provenance(commit: str = COMMIT, **changes: Any) -> Any:
        return _fact("slsa-source", SOURCE, said | changes, signer, subjects=[f"gitCommit:{commit}"])

    def summary(**changes: Any) -> Any:
        predicate = {"verifier": {"id": "https://scs.example"}, "resourceUri": f"git+{APP}", "verificationResult": "PASSED", "verifiedLevels": ["SLSA_SOURCE_LEVEL_3"]} | changes
        return _fact("slsa-vsa", VSA, predicate, signer, subjects=[f"gitCommit:{COMMIT}"])

    def yes(name: str, ids: str, description: str, fact: Any, options: Any = rule, level: int | None = None, build: Any = None) -> None:
        inputs = _inputs("slsa-source", options, fact, build or _build())
        book.accept("evidence", f"source-{name}", ids, description, inputs, met=[[fact["digest"], level]])

    def no(name: str, ids: str, description: str, fact: Any, reason: str, options: Any = rule, build: Any = None, category: str = "policy") -> None:
        inputs = _inputs("slsa-source", options, fact, *([] if build == "none" else [build or _build()]))
        book.refuse("evidence", f"source-{name}", ids, description, inputs, reason, category=category)

    yes("provenance", "EVD-17 EVD-18", "The artifact was built from the revision.", provenance())
    yes("vsa", "EVD-17 EVD-18", "A summary with source levels.", summary(), rule | {"min_level": 3}, 3)
    no("no-build", "EVD-17", "Nothing ties the revision to the artifact.", provenance(), "evidence-subject", build="none")
    no("other-commit", "EVD-17", "The artifact was built from another commit.", provenance(OTHER_COMMIT), "evidence-subject")
    no("anybodys-build", "EVD-17", "Provenance by anybody names a reviewed commit.", provenance(), "evidence-subject", build=_build(_github("https://github.com/mallory/app/.github/workflows/release.yml@refs/tags/v1.2.3")))
    no("build-of-another-artifact", "EVD-17", "Provenance of another artifact.", provenance(), "evidence-subject", build=_build(subjects=["sha256:" + "0" * 64]))
    no("no-builders", "EVD-17", "A rule that names no builder ties nothing to an artifact.", provenance(), "evidence-subject", {name: rule[name] for name in ("signers", "source")})
    no("signer", "EVD-05", "Another signer.", provenance() | {"signer": {"kind": "key", "keyDigest": OTHER_KEY}}, "evidence-signer")
    no("repository", "EVD-18", "A revision of another repository.", provenance(repo_uri="https://github.com/mallory/app"), "evidence-source")
    no("vsa-repository", "EVD-18", "A summary of another repository.", summary(resourceUri="git+https://github.com/mallory/app"), "evidence-source")
    no("level-of-provenance", "EVD-18", "Source provenance states no level.", provenance(), "evidence-level", rule | {"min_level": 3})
    no("vsa-level", "EVD-18", "A lower level.", summary(verifiedLevels=["SLSA_SOURCE_LEVEL_2", "SLSA_BUILD_LEVEL_3"]), "evidence-level", rule | {"min_level": 3})
    no("draft", "EVD-18", "Another draft.", provenance() | {"predicateType": SOURCE + "2"}, "evidence-unsupported", category="indeterminate")


def _others(book: Book) -> None:
    signer = {"kind": "key", "keyDigest": KEY}
    cyclonedx = _fact("sbom", "https://cyclonedx.org/bom/v1.6", {"bomFormat": "CycloneDX"}, signer)
    custom = _fact("attestation", "https://x.example/v1", {"x": 1}, signer)
    links = _fact("in-toto", "", {"layout": "layouts/app.layout", "owners": ["layouts/keys/ann.pub"], "steps": ["build"]}, {"kind": "functionaries"})
    layout: Any = {"layout": "layouts/app.layout", "owners": ["layouts/keys/ann.pub"]}
    table: Any = (
        ("sbom", "EVD-19", "sbom", {"signers": [{"key": KEY}], "formats": ["cyclonedx"]}, cyclonedx),
        ("attestation", "EVD-20", "attestation", {"signers": [{"key": KEY}], "predicate_type": "https://x.example/v1"}, custom),
        ("layout", "EVD-21", "in-toto", layout, links),
    )
    for name, ids, kind, options, fact in table:
        book.accept("evidence", name, ids, "What the rule asks for.", _inputs(kind, options, fact), met=[[fact["digest"], None]])
    refused: Any = (
        ("sbom-format", "EVD-19", "Another format.", "sbom", {"signers": [{"key": KEY}], "formats": ["spdx"]}, cyclonedx, "evidence-required"),
        ("sbom-signer", "EVD-19", "An SBOM by somebody else.", "sbom", {"signers": [{"key": OTHER_KEY}]}, cyclonedx, "evidence-signer"),
        ("attestation-type", "EVD-20", "A type that begins alike.", "attestation", {"signers": [{"key": KEY}], "predicate_type": "https://x.example/v"}, custom, "evidence-required"),
        ("attestation-signer", "EVD-20", "Somebody else's word.", "attestation", {"signers": [{"key": OTHER_KEY}], "predicate_type": "https://x.example/v1"}, custom, "evidence-signer"),
        ("other-layout", "EVD-21", "Links that satisfy another layout.", "in-toto", layout | {"layout": "layouts/other.layout"}, links, "evidence-layout"),
        ("other-owners", "EVD-21", "The layout as others signed it.", "in-toto", layout | {"owners": ["layouts/keys/eve.pub"]}, links, "evidence-layout"),
    )
    for name, ids, description, kind, options, fact, reason in refused:
        book.refuse("evidence", name, ids, description, _inputs(kind, options, fact), reason, category="policy")
