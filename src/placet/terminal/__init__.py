"""The approval terminal: it renders the very bytes that it hashes."""
