"""The log's services: the server, the witness, the monitor."""
