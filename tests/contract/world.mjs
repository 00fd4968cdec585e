// A registry in the sandbox, and everything that its tests say to it. Written from schema.tlb alone.

import assert from "node:assert/strict";
import { createHash, createPrivateKey, createPublicKey, sign as signWith } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../attestd/chain/node/package.json", import.meta.url));
export const { Address, beginCell, Cell, contractAddress, convertToMerkleProof, Dictionary } =
    require("@ton/core");
const { Blockchain, internal, SmartContract } = require("@ton/sandbox");

export const { compile } = await import("../../attestd/chain/node/compile.mjs");
export const ARTEFACT = JSON.parse(
    readFileSync(new URL("../../attestd/chain/contract/registry.json", import.meta.url), "utf8"),
);
export const CODE = Cell.fromBase64(ARTEFACT.code);

export const OP = {
    publish: 0x2b69f9c9,
    checkKey: 0x4617e9e8,
    keyChecked: 0x2a9df90c,
    propose: 0x4e8e94f0,
    execute: 0x456dcdcb,
    cancel: 0x77cc1d46,
    pause: 0x6a239751,
    excesses: 0xd53276db,
};
export const DAY = 24 * 3600;
export const TIMELOCK = 2 * DAY;
export const MAX_VALIDITY = 3600;
export const START = 1_800_000_000;
export const GLOBAL_ID = -239;
export const TON = 1_000_000_000n;

export const PRESENT = { serialize: () => {}, parse: () => true };
const SIGNATURE = Dictionary.Values.Buffer(64);
const KEY = Dictionary.Values.BigUint(256);

export const number = (buffer) => BigInt(`0x${buffer.toString("hex")}`);

// PKCS #8 of an Ed25519 key (RFC 8410, section 7) up to its seed.
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");
const PAIRS = new Map();

export function signer(index) {
    if (!PAIRS.has(index)) {
        const key = Buffer.concat([PKCS8, Buffer.alloc(32, index + 1)]);
        const secretKey = createPrivateKey({ key, format: "der", type: "pkcs8" });
        const { x } = createPublicKey(secretKey).export({ format: "jwk" });
        PAIRS.set(index, { secretKey, publicKey: Buffer.from(x, "base64url") });
    }
    return PAIRS.get(index);
}

export const sign = (hash, secretKey) => signWith(null, hash, secretKey);
export const admin = new Address(0, Buffer.alloc(32, 0xad));
export const stranger = new Address(0, Buffer.alloc(32, 0x57));

export function verifiersOf(keys) {
    const verifiers = Dictionary.empty(Dictionary.Keys.Uint(8), KEY);
    keys.forEach((key, index) => verifiers.set(index, key));
    return verifiers;
}

export const signers = (count) => Array.from({ length: count }, (_, index) => signer(index));
export const keysOf = (pairs) => pairs.map(({ publicKey }) => number(publicKey));

export function digestsOf(digests) {
    const all = Dictionary.empty(Dictionary.Keys.BigUint(256), PRESENT);
    digests.forEach((digest) => all.set(digest, true));
    return all;
}

export function governanceCell({
    adminAddress = admin,
    threshold = 3,
    timelock = TIMELOCK,
    maxValidity = MAX_VALIDITY,
    verifiers = verifiersOf(keysOf(signers(5))),
    sets = [[], [], []],
} = {}) {
    const setsCell = sets.reduce((cell, digests) => cell.storeDict(digestsOf(digests)), beginCell()).endCell();
    return beginCell()
        .storeAddress(adminAddress)
        .storeUint(threshold, 8)
        .storeUint(timelock, 32)
        .storeUint(maxValidity, 32)
        .storeUint(0, 32)
        .storeDict(verifiers)
        .storeDict(null)
        .storeRef(setsCell)
        .endCell();
}

export function initialData(governance = {}) {
    return beginCell()
        .storeUint(1, 8)
        .storeBit(false)
        .storeUint(0, 32)
        .storeUint(0, 64)
        .storeUint(0, 256)
        .storeUint(0, 256)
        .storeUint(0, 256)
        .storeUint(0, 32)
        .storeUint(0, 32)
        .storeDict(null)
        .storeRef(governanceCell(governance))
        .endCell();
}

// Strict: whatever is left over is an error.
export function parseState(data) {
    const root = data.beginParse();
    const state = {
        version: root.loadUint(8),
        paused: root.loadBit(),
        epoch: root.loadUint(32),
        treeSize: root.loadUintBig(64),
        logRoot: root.loadUintBig(256),
        mapRoot: root.loadUintBig(256),
        policyDigest: root.loadUintBig(256),
        issuedAt: root.loadUint(32),
        validUntil: root.loadUint(32),
        signatures: root.loadDict(Dictionary.Keys.Uint(8), SIGNATURE),
    };
    const governance = root.loadRef().beginParse();
    root.endParse();
    Object.assign(state, {
        admin: governance.loadAddress(),
        threshold: governance.loadUint(8),
        timelock: governance.loadUint(32),
        maxValidity: governance.loadUint(32),
        nextProposal: governance.loadUint(32),
        verifiers: governance.loadDict(Dictionary.Keys.Uint(8), KEY),
        proposals: governance.loadDict(Dictionary.Keys.Uint(32), Dictionary.Values.Cell()),
    });
    const sets = governance.loadRef().beginParse();
    governance.endParse();
    state.sets = [0, 1, 2].map(() => sets.loadDict(Dictionary.Keys.BigUint(256), PRESENT));
    sets.endParse();
    if (state.version !== 1) {
        throw new Error(`version ${state.version}`);
    }
    return state;
}

export const checkpoint = ({ epoch, treeSize, logRoot, mapRoot, policyDigest, issuedAt, validUntil }) =>
    beginCell()
        .storeUint(0x287f43b5, 32)
        .storeUint(epoch, 32)
        .storeUint(treeSize, 64)
        .storeUint(logRoot, 256)
        .storeUint(mapRoot, 256)
        .storeUint(policyDigest, 256)
        .storeUint(issuedAt, 32)
        .storeUint(validUntil, 32)
        .endCell();

export const signingHash = (checkpointCell, registry, globalId = GLOBAL_ID) =>
    beginCell()
        .storeUint(0x62a89e96, 32)
        .storeInt(globalId, 32)
        .storeAddress(registry)
        .storeRef(checkpointCell)
        .endCell()
        .hash();

export function signaturesOf(hash, pairs) {
    const signatures = Dictionary.empty(Dictionary.Keys.Uint(8), SIGNATURE);
    pairs.forEach((pair, index) => pair && signatures.set(index, sign(hash, pair.secretKey)));
    return signatures;
}

export const body = (op, queryId = 7n) => beginCell().storeUint(op, 32).storeUint(queryId, 64);
export const publishBody = (checkpointCell, signatures) =>
    body(OP.publish).storeRef(checkpointCell).storeDict(signatures).endCell();
export const checkKeyBody = (keyId, proof) => body(OP.checkKey).storeUint(keyId, 256).storeMaybeRef(proof).endCell();
export const proposeBody = (change) => body(OP.propose).storeRef(change).endCell();
export const executeBody = (proposal) => body(OP.execute).storeUint(proposal, 32).endCell();
export const cancelBody = (proposal) => body(OP.cancel).storeUint(proposal, 32).endCell();
export const pauseBody = () => body(OP.pause).endCell();

const kind = (number_) => beginCell().storeUint(number_, 8);
export const CHANGE = {
    setVerifiers: (threshold, verifiers) => kind(1).storeUint(threshold, 8).storeDict(verifiers).endCell(),
    setAdmin: (address) => kind(2).storeAddress(address).endCell(),
    setTimelock: (seconds) => kind(3).storeUint(seconds, 32).endCell(),
    setMaxValidity: (seconds) => kind(4).storeUint(seconds, 32).endCell(),
    unpause: () => kind(5).endCell(),
    upgrade: (code) => kind(6).storeRef(code).endCell(),
    approve: (set, digests) => kind(7).storeUint(set, 8).storeDict(digestsOf(digests)).endCell(),
    withdraw: (set, digests) => kind(8).storeUint(set, 8).storeDict(digestsOf(digests)).endCell(),
};

export const entry = ({ state = 1, notBefore = START - DAY, notAfter = START + 30 * DAY } = {}) =>
    beginCell()
        .storeUint(state, 8)
        .storeUint(1, 8)
        .storeUint(5n, 256)
        .storeUint(6n, 256)
        .storeUint(7n, 256)
        .storeUint(notBefore, 32)
        .storeUint(notAfter, 32)
        .endCell();

export const keyId = (name) => number(createHash("sha256").update(`key ${name}`).digest());

export function mapOf(count, make = () => entry()) {
    const map = Dictionary.empty(Dictionary.Keys.BigUint(256), Dictionary.Values.Cell());
    for (let index = 0; index < count; index++) {
        map.set(keyId(index), make(index));
    }
    return map;
}

export const rootOf = (map) => beginCell().storeDictDirect(map).endCell();

// Hashmap n X of the TVM: the length of the label in front of a node, and how many of its bits agree with the key.
function readLabel(slice, remaining, key) {
    const width = Math.ceil(Math.log2(remaining + 1));
    let length = 0;
    let bit = () => slice.loadUint(1);
    if (slice.loadBit()) {
        if (slice.loadBit()) {
            const same = slice.loadUint(1);
            bit = () => same;
        }
        length = slice.loadUint(width);
    } else {
        while (slice.loadBit()) {
            length++;
        }
    }
    const agrees = Array.from({ length }, (_, at) => bit() === key[key.length - remaining + at]).every(Boolean);
    return { length, agrees };
}

export const pruned = (cell) =>
    beginCell()
        .storeUint(1, 8)
        .storeUint(1, 8)
        .storeBuffer(cell.hash(0))
        .storeUint(cell.depth(0), 16)
        .endCell({ exotic: true });

function pathOf(node, key, remaining, leaf) {
    const slice = node.beginParse();
    const { length, agrees } = readLabel(slice, remaining, key);
    const below = remaining - length;
    const builder = beginCell().storeBits(node.bits);
    if (below === 0) {
        return builder.storeRef(leaf(node.refs[0])).endCell();
    }
    const next = agrees ? key[key.length - below] : null;
    for (const side of [0, 1]) {
        const child = node.refs[side];
        builder.storeRef(side === next ? pathOf(child, key, below - 1, leaf) : pruned(child));
    }
    return builder.endCell();
}

// A proof of the key's entry, or of its absence; `leaf` may put something else where the entry is.
export function prove(root, id, leaf = (cell) => cell) {
    const key = [...id.toString(2).padStart(256, "0")].map(Number);
    return convertToMerkleProof(pathOf(root, key, 256, leaf));
}

// Only the emulator and the network's configuration: the account is not in it.
const CHAIN = await Blockchain.create({ config: "slim" });

// One registry account. Messages go straight to it, so that a test sees one transaction and nothing around it.
export class World {
    static async deploy({ governance = {}, data = initialData(governance), balance = TON } = {}) {
        const world = new World();
        world.address = contractAddress(0, { code: CODE, data });
        world.account = SmartContract.create(CHAIN, { address: world.address, code: CODE, data, balance });
        world.now = START;
        return world;
    }

    get state() {
        return parseState(this.account.accountState.state.data);
    }

    async send(messageBody, { from = stranger, value = TON, bounced = false, bounce = true, init } = {}) {
        const to = this.address;
        const message = internal({ from, to, value, body: messageBody, bounce, bounced, stateInit: init });
        return outcome(await this.account.receiveMessage(message, { now: this.now }));
    }

    async get(method, ...stack) {
        return this.account.get(method, stack, { now: this.now });
    }

    // A checkpoint that would be accepted now, but for what the test overrides.
    checkpoint(fields = {}) {
        const { epoch, treeSize, issuedAt } = this.state;
        return checkpoint({
            epoch: epoch + 1,
            treeSize: treeSize + 10n,
            logRoot: 1n,
            mapRoot: 2n,
            policyDigest: 3n,
            issuedAt: Math.max(issuedAt, this.now),
            validUntil: this.now + 600,
            ...fields,
        });
    }

    publication({ fields = {}, pairs = signers(3), globalId = GLOBAL_ID, registry = this.address } = {}) {
        const cell = this.checkpoint(fields);
        return publishBody(cell, signaturesOf(signingHash(cell, registry, globalId), pairs));
    }

    publish(publication = {}, message = {}) {
        return this.send(this.publication(publication), message);
    }

    asAdmin(messageBody, message = {}) {
        return this.send(messageBody, { from: admin, ...message });
    }
}

// That a message comes to this exit code, goes back and changes nothing.
export async function refused(world, sent, exitCode) {
    const before = world.account.accountState.state.data;
    const found = await sent();
    assert.deepEqual([found.exitCode, found.aborted, found.bounced], [exitCode, true, true]);
    assert.ok(world.account.accountState.state.data.equals(before));
}

// What a transaction came to: the exit code of the machine, that of the action phase, gas and messages.
function outcome(transaction) {
    const { computePhase, actionPhase, aborted, bouncePhase } = transaction.description;
    const ran = computePhase.type === "vm";
    return {
        transaction,
        aborted,
        ran,
        bounced: bouncePhase?.type === "ok",
        exitCode: ran ? computePhase.exitCode : null,
        gas: ran ? Number(computePhase.gasUsed) : 0,
        action: actionPhase ? actionPhase.resultCode : null,
        out: transaction.outMessages.values(),
        fees: transaction.totalFees.coins,
        rent: transaction.description.storagePhase?.storageFeesCollected ?? 0n,
    };
}
