"""What this project's HTTP services share: bounded messages, refusals in JSON, one door, and the server.

A service is hostile ground: whoever can reach it may send anything.  What holds a service to its bounds
stands here once, so that the relay, the log and the witness have the same ones.
"""
