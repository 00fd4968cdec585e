"""Cells of the TON Virtual Machine: what the registry's map, its contract and every proof of the chain are made of.

address.py      addresses of accounts
cell.py         Cell, Builder, Slice
boc.py          bags of cells: how cells travel
dictionary.py   HashmapE and HashmapAugE
proof.py        Merkle proofs

Everything here faces hostile input: cells are hashed as they are made, from the leaves up, so no depth of nesting meets
the interpreter's stack, and what a proof leaves out is an error and never absence.
"""
