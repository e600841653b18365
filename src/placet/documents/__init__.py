"""Files of the trust root that the decision itself does not read: pure, like the core, and beside it.

The core decides with people, terminals, gates, rules and actions.  What helps to get there (whose tokens are
believed, which authenticator models are allowed) has its formats here, where both the ceremonies and
the adapters can read them.  No module here has an effect.
"""
