"""Verifies a bundle of the common form in a process of its own, and prints which modules that took."""

import json
import sys

from evidence_world import JOB, ROOT, STATEMENT, Case, private_root, verify

from placet.testing.private_sigstore import PrivateSigstore

sigstore = PrivateSigstore(b"probe")
case = Case("probe", sigstore.sign_statement(JOB, STATEMENT), files={ROOT: private_root(sigstore)})
assert len(verify(case)) == 1
print(json.dumps(sorted(sys.modules)))
