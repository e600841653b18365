"""Evidence is judged without a network, and Sigstore's libraries load where there is such evidence only."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from evidence_world import JOB, ROOT, STATEMENT, Case, go_provenance, private_root, verify

from placet.testing.private_sigstore import PrivateSigstore

HEAVY = ("sigstore", "sigstore_models", "pydantic", "rfc3161_client", "requests", "cryptography.x509", "tuf")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise AssertionError("the verification asked the network")

    for name in ("socket", "create_connection", "getaddrinfo", "socketpair"):
        monkeypatch.setattr(socket, name, refuse)


def test_the_network_is_never_asked(no_network: None, test_data: Path) -> None:
    cases = [case for case in go_provenance(test_data) if case.name.startswith(("v2.0.0", "v2.1.0"))]
    assert len(cases) == 8
    for case in cases:
        assert verify(case)


def test_the_network_is_never_asked_for_a_private_instance(no_network: None) -> None:
    sigstore = PrivateSigstore(b"offline")
    case = Case("private", sigstore.sign_statement(JOB, STATEMENT), files={ROOT: private_root(sigstore)})
    assert verify(case)


def test_nothing_of_sigstore_is_loaded_without_such_evidence() -> None:
    script = f"""
import sys
from placet.adapters.sigstore.evidence import SigstoreEvidence
from placet.adapters.trust_files import TrustFiles
from placet.core.evidence.facts import Evidence
item = Evidence("0" * 64, "text/plain", b"")
assert SigstoreEvidence(TrustFiles("/nowhere/trust.json")).verify(None, (item,), trust=None) == ()
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_library_is_said_in_words() -> None:
    script = """
import sys
sys.modules["sigstore"] = None
from placet.adapters.sigstore.evidence import SigstoreEvidence
from placet.adapters.trust_files import TrustFiles
from placet.core.errors import IndeterminateError
from placet.core.evidence.facts import SIGSTORE_MEDIA_TYPE, Evidence
content = b'{"mediaType":"%s","verificationMaterial":{}}' % SIGSTORE_MEDIA_TYPE.encode()
try:
    SigstoreEvidence(TrustFiles("/nowhere/trust.json")).verify(
        None, (Evidence("0" * 64, SIGSTORE_MEDIA_TYPE, content),), trust=None
    )
except IndeterminateError as e:
    print(e.reason, e.hint)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "evidence-not-verified Install it with: pip install 'placet[sigstore]'"
