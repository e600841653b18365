"""One module per outside system; each satisfies a port."""
