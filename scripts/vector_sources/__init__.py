"""The test vectors' sources, one module per area of the specification."""
