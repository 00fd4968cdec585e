// Plays sequences of messages for test_sequences.py: one JSON line asks for a sequence against a fresh registry, one
// answers with what every message came to and with the state behind it.

import { createInterface } from "node:readline";
import {
    admin, beginCell, body, cancelBody, CHANGE, checkKeyBody, checkpoint, CODE, Dictionary, executeBody,
    GLOBAL_ID, keysOf, OP, pauseBody, proposeBody, publishBody, sign, signer, signers, signingHash, stranger,
    verifiersOf, World,
} from "./world.mjs";

const SENDERS = { admin, stranger };
const REGISTRIES = { ours: (world) => world.address, other: () => stranger };

function groupOf(keys) {
    const verifiers = verifiersOf([]);
    for (const [index, key] of keys) {
        verifiers.set(index, key === null ? 0n : keysOf([signer(key)])[0]);
    }
    return verifiers;
}

function publication(world, { statement, signatures, network, registry }) {
    const roots = { logRoot: 1n, mapRoot: 0n, policyDigest: 2n };
    const cell = checkpoint({ ...statement, ...roots, treeSize: BigInt(statement.treeSize) });
    const hash = signingHash(cell, REGISTRIES[registry](world), network === "ours" ? GLOBAL_ID : -3);
    const signed = Dictionary.empty(Dictionary.Keys.Uint(8), Dictionary.Values.Buffer(64));
    for (const [index, key] of signatures) {
        signed.set(index, sign(hash, signer(key).secretKey));
    }
    return publishBody(cell, signed);
}

const CHANGES = {
    set_verifiers: ({ threshold, keys }) => CHANGE.setVerifiers(threshold, groupOf(keys)),
    set_admin: ({ to }) => CHANGE.setAdmin(SENDERS[to]),
    set_timelock: ({ seconds }) => CHANGE.setTimelock(seconds),
    set_max_validity: ({ seconds }) => CHANGE.setMaxValidity(seconds),
    unpause: () => CHANGE.unpause(),
    upgrade: () => CHANGE.upgrade(CODE),
    approve: ({ set, digests }) => CHANGE.approve(set, digests.map(BigInt)),
    withdraw: ({ set, digests }) => CHANGE.withdraw(set, digests.map(BigInt)),
};

const BODIES = {
    publish: publication,
    propose: (_, { change }) => proposeBody(CHANGES[change.kind](change)),
    execute: (_, { proposal }) => executeBody(proposal),
    cancel: (_, { proposal }) => cancelBody(proposal),
    pause: () => pauseBody(),
    check_key: () => checkKeyBody(1n, null),
    gift: () => beginCell().endCell(),
    unknown: () => body(0x01020304).endCell(),
    excesses: () => body(OP.excesses).endCell(),
};

const hex = (value) => value.toString(16);
const entries = (map, show) => map.keys().map((key) => [Number(key), show(map.get(key))]);

function shown(world) {
    const { logRoot: _, mapRoot: __, policyDigest: ___, ...state } = world.state;
    const { admin: owner, verifiers, proposals, sets, signatures, ...rest } = state;
    return {
        ...rest,
        treeSize: Number(rest.treeSize),
        signatures: signatures.keys(),
        admin: Object.keys(SENDERS).find((name) => SENDERS[name].equals(owner)),
        verifiers: entries(verifiers, hex),
        proposals: entries(proposals, (cell) => {
            const proposal = cell.beginParse();
            const times = [proposal.loadUint(32), proposal.loadUint(32)];
            proposal.loadRef();
            proposal.endParse();
            return times;
        }),
        sets: sets.map((set) => set.keys().map(Number)),
    };
}

async function play({ governance, steps }) {
    const verifiers = groupOf(governance.keys);
    const world = await World.deploy({ governance: { ...governance, verifiers } });
    const outcomes = [];
    for (const { at, from, bounced, value, ...step } of steps) {
        world.now = at;
        const before = world.account.balance;
        const { exitCode, action, rent } = await world.send(BODIES[step.op](world, step), {
            from: SENDERS[from], bounced, bounce: !bounced, value: BigInt(value),
        });
        const gained = Number(world.account.balance + rent - before);
        outcomes.push({ exitCode, action, gained, state: shown(world) });
    }
    return outcomes;
}

console.log(JSON.stringify(keysOf(signers(10)).map(hex)));
for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await play(JSON.parse(line))));
}
