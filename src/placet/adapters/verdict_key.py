"""The key by which this gate signs its verdicts, and nothing else."""

from __future__ import annotations

import base64
from pathlib import Path

from placet.adapters.gate_key import GateKey, KeyPurpose
from placet.adapters.paths import state_dir
from placet.core.verdict.envelope import encode_verdict, encode_verdict_bundle, verdict_message


def verdict_key_path() -> Path:
    """Returns where this machine's gate keeps its verdict key."""
    return state_dir() / "gate" / "verdict.pem"


class VerdictKey(GateKey):
    """A gate's private verdict key."""

    PURPOSE = KeyPurpose("verdict key", "its verdicts", "placet verdict init")

    def sign(self, statement: dict[str, object], *, as_bundle: bool = False) -> bytes:
        """Signs a verdict's statement.

        Returns:
            The DSSE envelope, or the Sigstore bundle around it.
        """
        payload, message = verdict_message(statement)
        signature = self.sign_message(message)
        if not as_bundle:
            return encode_verdict(payload, signature)
        hint = base64.b64encode(bytes.fromhex(self.public.digest)).decode("ascii")
        return encode_verdict_bundle(payload, signature, key_hint=hint)
