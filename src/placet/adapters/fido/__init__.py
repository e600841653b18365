"""Authenticators: CTAP and ssh-keygen, attestation, the metadata of models (python-fido2)."""
