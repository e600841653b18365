"""The relay: an untrusted courier between requesters and approval terminals.

It stores requests and answers and forwards them.  It holds no key, reads no trust root and
decides nothing: whoever owns it can withhold or delay an approval, and can neither forge,
alter nor replay one.  What it does check is shape, so that garbage is refused where it is
made and not on the screen of a person at 3 a.m.

Handlers (`app`) parse a request, call one method of the `courier` and write the answer.
"""
