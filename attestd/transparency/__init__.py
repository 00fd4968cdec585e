"""What makes the registry's decisions checkable by others: the log of them, the map of trusted keys, the checkpoints.

record.py       one decision: a leaf of the log
merkle.py       the log's tree and its proofs (RFC 6962)
tiles.py        the log as static files (C2SP tlog-tiles)
note.py         the log's signed head (C2SP signed-note and tlog-checkpoint)
entry.py        one trusted key's entry in the map
keymap.py       the map, by nodes, and proofs about one key
checkpoint.py   both roots of an epoch, as verifiers sign them and the contract keeps them
anchor.py       one log for everybody: held against an older head, and against the chain
audit.py        all records, held against both roots on chain

The map is a pure function of the log: `record.fold`.
"""
