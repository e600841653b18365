"""Asks OPA, inside this process, for one document: evaluate_rego.py POLICY DOCUMENT, the input on stdin."""

import json
import sys
from pathlib import Path

from opa_bindings import OpaEngine

with OpaEngine() as engine:
    engine.add_policy("policy.rego", Path(sys.argv[1]).read_text())
    print(json.dumps(engine.eval_document(sys.argv[2], json.load(sys.stdin))))
