"""Registries of the OCI distribution specification: what hangs on an image, fetched and attached."""
