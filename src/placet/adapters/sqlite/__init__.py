"""The embedded stores: the relay's requests and the gate's use ledger in SQLite."""
