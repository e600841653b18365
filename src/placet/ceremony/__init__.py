"""The life of a request, step by step, over core and ports: request, decide, publish."""
