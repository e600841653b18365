"""The decision, pure: bytes, trust, policy and `now` go in, verified data or a named refusal comes out."""
