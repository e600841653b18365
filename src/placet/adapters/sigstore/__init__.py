"""Sigstore evidence: bundles, attestations of PyPI, and DSSE envelopes (docs/evidence.md).

    evidence        the port's implementation: media type in, facts out
    documents       the JSON of bundles and PEP 740 objects, in one shape
    bundles         that shape as sigstore-python's bundle, with the forms that it refuses
    instances       trusted roots: what an instance's authorities, logs and timestamp authorities vouch for
    entries         whether a log entry is about this signature
    certificates    who signed, in Fulcio's words
    keys, envelopes plain keys, and envelopes outside of bundles
    refusals        the reasons
    lean, lean_*      the common form again, without sigstore-python's imports; it may only agree (ADR 0031)
    signing, sign_in  signs with sigstore-python, for the signing gate

Everything but `evidence`, `documents` and `refusals` imports sigstore-python or X.509, and is imported only
where there is such evidence.  sigstore-python's inner parts are used; its minor version is pinned, and the
vectors of tests/adapters/sigstore hold every form against it (ADR 0028).
"""
