"""The tools of others, each asked the same question: does this bundle hold for this artifact and this signer?

scripts/setup-interop fetches them.  They run with an empty home, so nothing they cached before helps them.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SLSA_V1 = "https://slsa.dev/provenance/v1"
# What cosign calls predicate types that it knows; others go by their URI.
_COSIGN_TYPES = {SLSA_V1: "slsaprovenance1", "https://slsa.dev/provenance/v0.2": "slsaprovenance02"}


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a verifier is asked.

    Attributes:
        identity, issuer: the signer that the certificate must name; empty with `key`.
        predicate_type: empty for a signature over the artifact itself.
        source_repository: `owner/name` as the certificate has it, for gh, which always asks for it.
        logged: whether a transparency log entry and a CT timestamp are demanded.
        key: file with the public key (PEM) that must have signed, in place of a certificate.
        timestamped: whether a verified signing time is demanded.
    """

    bundle: Path
    artifact: Path
    trusted_root: Path
    identity: str = ""
    issuer: str = ""
    predicate_type: str = SLSA_V1
    source_repository: str = ""
    digest: str = "sha256"
    logged: bool = True
    key: Path | None = None
    timestamped: bool = True


@dataclass(frozen=True)
class Answer:
    """What a tool said.  `accepted` is its exit code, nothing read from its words."""

    accepted: bool
    said: str
    output: str = field(repr=False, default="")


@dataclass(frozen=True)
class OtherTools:
    """Where the tools are, and the empty home they run with."""

    cache: Path
    home: Path

    def path(self, name: str) -> Path:
        """Returns a Debian tool's path."""
        return self.cache / "debian" / "usr" / "bin" / name

    def run(self, *command: str | Path, cwd: Path | None = None, stdin: str = "", **extra: str) -> Answer:
        """Runs a tool and returns what it answered."""
        environment = {
            "HOME": str(self.home),
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            **extra,
        }
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd or self.home,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",  # a signed artifact need not be text
            check=False,
            timeout=60,
        )
        return Answer(done.returncode == 0, (done.stderr + done.stdout)[-2000:], done.stdout)

    def cosign(self, *arguments: str | Path, **extra: str) -> Answer:
        return self.run(self.path("cosign"), *arguments, **extra)

    def rekor_cli(self, *arguments: str | Path) -> Answer:
        return self.run(self.path("rekor-cli"), *arguments)

    def node(self, script: Path, *arguments: str) -> Answer:
        return self.run(self.cache / "node" / "node", script, *arguments, cwd=self.cache / "node")


def ask_cosign(tools: OtherTools, question: Question) -> Answer:
    """`cosign verify-blob-attestation`, or `verify-blob` for a signature over the artifact."""
    command: list[str | Path] = ["verify-blob-attestation" if question.predicate_type else "verify-blob"]
    command += ["--bundle", question.bundle, "--trusted-root", question.trusted_root]
    if question.predicate_type:
        command += ["--type", _COSIGN_TYPES.get(question.predicate_type, question.predicate_type)]
    if question.key:
        command += ["--key", question.key]
    else:
        command += ["--certificate-identity", question.identity, "--certificate-oidc-issuer", question.issuer]
    if not question.logged:
        command += ["--insecure-ignore-tlog"]
        if not question.key:
            command += ["--insecure-ignore-sct"]
    if question.timestamped:
        command += ["--use-signed-timestamps"] if _has_timestamp(question.bundle) else []
    return tools.cosign(*command, question.artifact)


def ask_sigstore_go(tools: OtherTools, question: Question) -> Answer:
    """sigstore-go's own command.  It does not look at predicate types."""
    command: list[str | Path] = ["-trustedrootJSONpath", question.trusted_root]
    command += ["-artifact", question.artifact, "-artifact-digest-algorithm", question.digest]
    if question.key:
        command += ["-publicKey", question.key, "-requireCTlog=false"]
    else:
        command += ["-expectedSAN", question.identity, "-expectedIssuer", question.issuer]
    if not question.logged:
        command += ["-requireTlog=false", "-requireCTlog=false"]
    if not question.timestamped:
        command += ["-requireTimestamp=false"]
    return tools.run(tools.path("sigstore-go-verification"), *command, question.bundle)


def ask_gh(tools: OtherTools, question: Question) -> Answer:
    """`gh attestation verify`, without token and network.  It reads attestations by certificate alone."""
    # gh reads one bundle and one trusted root per line, and no line that does not end.
    root = _one_line(question.trusted_root, tools.home)
    bundle = _one_line(question.bundle, tools.home)
    command: list[str | Path] = ["attestation", "verify", question.artifact, "-b", bundle]
    command += ["--custom-trusted-root", root, "--format", "json", "-d", question.digest]
    command += ["-R", question.source_repository, "--predicate-type", question.predicate_type]
    command += ["--cert-identity", question.identity, "--cert-oidc-issuer", question.issuer]
    return tools.run(Path(sys.executable).parent / "gh", *command, GH_NO_UPDATE_NOTIFIER="1")


def ask_sigstore_js(tools: OtherTools, question: Question) -> Answer:
    """@sigstore/verify under Node.js 22.  It leaves subjects and predicate types to its caller."""
    asked: dict[str, str | int] = {
        "bundle": str(question.bundle),
        "trustedRoot": str(question.trusted_root),
        "artifact": str(question.artifact),
        "tlogs": int(question.logged),
        "ctlogs": int(question.logged),
        "timestamps": int(question.timestamped),
    }
    if question.key:
        asked["key"] = str(question.key)
    else:
        asked |= {"identity": question.identity, "issuer": question.issuer}
    answer = tools.node(Path(__file__).parent / "node" / "verify.mjs", json.dumps(asked))
    if answer.accepted and question.predicate_type:
        return _same_statement(answer, question)
    return answer


def _same_statement(answer: Answer, question: Question) -> Answer:
    """Holds what sigstore-js leaves to its caller: the statement is about this artifact, and of this type."""
    statement = json.loads(answer.output)
    digest = hashlib.new(question.digest, question.artifact.read_bytes()).hexdigest()
    if statement["predicateType"] != question.predicate_type:
        return Answer(False, f"predicate type {statement['predicateType']}")
    if all(subject["digest"].get(question.digest) != digest for subject in statement["subject"]):
        return Answer(False, "no subject is the artifact")
    return answer


def _has_timestamp(bundle: Path) -> bool:
    try:
        material = json.loads(bundle.read_text())["verificationMaterial"]
    except ValueError:  # the tool is to say so
        return False
    return bool((material.get("timestampVerificationData") or {}).get("rfc3161Timestamps"))


def _one_line(file: Path, folder: Path) -> Path:
    copy = folder / f"{file.stem}.jsonl"
    copy.write_text(json.dumps(json.loads(file.read_text())) + "\n")
    return copy


VERIFIERS: dict[str, Callable[[OtherTools, Question], Answer]] = {
    "cosign": ask_cosign,
    "sigstore-go": ask_sigstore_go,
    "gh": ask_gh,
    "sigstore-js": ask_sigstore_js,
}


def default_cache() -> Path:
    """Where scripts/setup-interop puts the tools."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("PLACET_INTEROP_CACHE") or Path(home) / "placet" / "interop")
