"""The shared stores: the relay's requests and the gates' use ledger in PostgreSQL (psycopg)."""
