"""What runs in the peers' own environment: pymerkle's roots and proofs of leaves, which standard input lists in hex."""

import importlib
import json
import sys


def main() -> None:
    leaves = [bytes.fromhex(leaf) for leaf in json.load(sys.stdin)]
    tree = importlib.import_module("pymerkle").InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        tree.append_entry(leaf)
    count = len(leaves)
    sizes = range(1, count + 1)
    answer = {
        "roots": [tree.get_root(size).hex() for size in sizes],
        "inclusion": [tree.prove_inclusion(index, count).serialize()["path"] for index in sizes],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
