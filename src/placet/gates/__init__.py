"""Native event in, allow or deny out; fail closed."""
