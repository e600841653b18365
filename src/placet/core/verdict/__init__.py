"""What a gate says to engines that do not know placet (spec/18-verdicts.md).

A *verdict* is a short-lived in-toto statement that a gate signs after it allowed an action:

    VSA v1     https://slsa.dev/verification_summary/v1     levels, policy, inputs, resource
    SVR v0.2   https://in-toto.io/attestation/svr/v0.2      a list of properties

It stands in a DSSE envelope with exactly one signature, ECDSA P-256 over the PAE by the gate's own
key, whose ``keyid`` is empty; or in a Sigstore bundle v0.3 around that envelope.

    statements.py   the two statements, made from a verified approval and nothing else
    levels.py       which SLSA levels the evidence that was met proves
    envelope.py     the envelope and the bundle around it
    check.py        what a consumer checks before it relies on a verdict
    keys.py         the public keys by which gates sign verdicts

The envelope that people signed never gets a gate's signature: there an unapproved request, signed by
the service alone, would look the same as an approved one.  So nothing here takes such an envelope, and
`placet.core.dsse` refuses an empty ``keyid`` in one (VSA-11).
"""
