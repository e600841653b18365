"""The relay: an untrusted courier between requesters and approval terminals.

It stores requests and answers, forwards them, and keeps a log of the decisions.  It holds no key
but its log's and decides nothing: whoever owns it can withhold or delay an approval, and can
neither forge, alter nor replay one.  What it does check is shape, and, where its operator gives it
a trust snapshot, whether an enrolled key signed, so that garbage is refused where it is made and
not on the screen of a person at 3 a.m.

Handlers (`app`) parse a request, call one method of the `courier` and write the answer.
"""
