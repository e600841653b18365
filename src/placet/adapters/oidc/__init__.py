"""OIDC issuers: their keys, and the tokens that say who asks (joserfc)."""
