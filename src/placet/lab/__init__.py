"""The attack lab: real attacks against real frameworks, without and with placet.

Each scenario builds the attacker's artifacts with the pipeline's own credentials, lets sigstore-python,
`in_toto_verify` and the SLSA provenance check judge them as they are, then asks the gate.  What is printed
is what they answered.

This is the one shipped room that may import `placet.testing`: its Sigstore, its people and their keys are
made on the spot, and nothing outside of it trusts them.
"""
