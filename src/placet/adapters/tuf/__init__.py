"""The trust root in TUF: administrators' repository, the ceremony's exchange, the gate's client."""
