"""What other frameworks' statements say, and what rules ask of them (spec/17-evidence.md).

Adapters verify signatures, certificates and log entries and hand over facts; this room reads what
the verified statements mean and holds it against the rules.  It is as pure as the rest of the core.
"""
