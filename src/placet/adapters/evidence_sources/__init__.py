"""Where evidence lies: beside a file, in a registry, at a package index.  Nothing is verified here."""
