"""A log in a bucket of S3, or of what speaks its API and keeps its conditional writes (ADR 0042).

    checkpoint              the newest signed checkpoint            (text; moves forward only)
    tile/0/x001/067, …      tiles and bundles of entries            (C2SP tlog-tiles; a name is written once)
    cosigned/2              the newest checkpoint with two cosignatures or more; so for each number
    private/journal         the one fence: what the newest round adds, with its records
    private/leaves/ab/ab…   one for each leaf, by its hash: its index, and its record
    private/probe           what tells at every start whether conditions are kept

Whoever may read ``checkpoint``, ``cosigned/`` and ``tile/`` follows the log without any server.

A round appends whatever was waiting, in this order:

1. ``private/journal`` is exchanged under ``If-Match``, with the round inside: base, leaves, records, root.
   This is the only step at which two processes can meet, and the storage lets one of them pass.  The other
   one reads the journal, finishes that round itself, and begins its own again.
2. Tiles, entries and leaves of the round are put under their names, under ``If-None-Match: *``.
3. The checkpoint is signed and ``checkpoint`` exchanged under ``If-Match``.  Now callers get their answer.

**Why it cannot fork.**  A signature is made only over a tree that the journal fixed before, and each journal
continues the one that it replaced, whose round is all in place by then.  No name is put before the journal
has fixed its bytes; so every PUT to one name, by whatever process and however late it arrives, carries the
same bytes.  The journal and the checkpoint are exchanged under the ETag of the one that was read, so a late
PUT of theirs fails.  A name that holds other bytes stops the log before it signs anything.

**Why nothing is lost.**  Death before step 1 appended nothing and left nothing behind.  Death after it left
the round in the journal: whoever opens the log finishes it.  Answers are sent after step 3 alone.

**What was put back** to an older state is noticed where a later tile, a cosigned checkpoint or a running
server remembers more; if the whole bucket was put back, only witnesses and monitors can tell.

Leaves out: deleting anything; the credential needs no such right.
"""
