"""The log's formats and proofs, pure (spec/20-log.md).

An append-only Merkle tree (RFC 6962, RFC 9162) whose state a log signs and witnesses cosign, all in the
text formats of C2SP, so that other people's tools read it:

    merkle.py       leaf and node hashes, the growing edge of a tree, inclusion and consistency proofs
    note.py         signed notes, and the keys that sign and verify them
    checkpoint.py   a log's statement of its size and root hash
    cosignature.py  a witness's signed time on a checkpoint
    tiles.py        the tree and its entries as static files
    proof.py        one entry's proof under one checkpoint, for offline use
    log_policy.py   which logs and witnesses count, and how many
    leaf.py         what stands in our log: no name, no content
    records.py      what a leaf is made from: decisions, uses, trust changes
    decisions.py    which decisions of an intent bundle are proven to be logged
    uses.py         how a gate's record of a use is signed, and what is taken of it

Every value has one spelling: parsing and printing again gives the same bytes, or parsing refuses.  Only
log policies are free in their white space, because people write them.  All work is bounded by the size
of what is read, and nothing recurses.
"""
