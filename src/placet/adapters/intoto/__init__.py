"""in-toto: layouts and links as evidence, and the step by which a layout asks for human approval.

Only `in_toto_verify` itself says whether a layout holds; what stands here makes its inputs safe to hand over
and puts its answer in our words.  Nothing of in-toto is imported before a link set or a layout is at hand.
"""
