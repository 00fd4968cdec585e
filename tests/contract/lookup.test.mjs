import assert from "node:assert/strict";
import { test } from "node:test";
import {
    beginCell, body, checkKeyBody, convertToMerkleProof, DAY, entry, keyId, mapOf, number, OP, pauseBody,
    prove, pruned, rootOf, START, stranger, World,
} from "./world.mjs";

const SMALL = mapOf(200);
const ROOT = rootOf(SMALL);
const NOBODY = keyId("nobody");

async function withMap(root = ROOT, fields = {}) {
    const world = await World.deploy();
    const mapRoot = root ? number(root.hash()) : 0n;
    assert.equal((await world.publish({ fields: { mapRoot, validUntil: START + 600, ...fields } })).exitCode, 0);
    return world;
}

async function ask(world, id, proof) {
    const { exitCode, action, out } = await world.send(checkKeyBody(id, proof));
    assert.deepEqual([exitCode, action, out.length], [0, 0, 1]);
    assert.ok(out[0].info.dest.equals(stranger));
    const answer = out[0].body.beginParse();
    assert.deepEqual([answer.loadUint(32), answer.loadUint(64), answer.loadUintBig(256)], [OP.keyChecked, 7, id]);
    const said = { member: answer.loadBit() };
    assert.deepEqual([answer.loadUint(32), answer.loadUint(32)], [world.state.epoch, world.state.validUntil]);
    said.entry = answer.loadMaybeRef();
    answer.endParse();

    const { stackReader } = await world.get("check_key", { type: "int", value: id }, cellOrNull(proof));
    assert.equal(stackReader.readBoolean(), said.member, "the getter says the same");
    assert.equal(stackReader.readCellOpt()?.hash().toString("hex"), said.entry?.hash().toString("hex"));
    return said;
}

const cellOrNull = (cell) => (cell ? { type: "cell", cell } : { type: "null" });

async function refuses(world, id, proof, exitCode) {
    const { exitCode: found, bounced, out } = await world.send(checkKeyBody(id, proof));
    assert.deepEqual([found, bounced, out.length], [exitCode, true, 1]);
    assert.equal(out[0].info.bounced, true, "no answer but what bounces");
    const error = await world.get("check_key", { type: "int", value: id }, cellOrNull(proof)).catch((thrown) => thrown);
    assert.equal(error.exitCode, exitCode);
}

test("our proofs are those of @ton/core", () => {
    for (const index of [0, 7, 199]) {
        assert.ok(prove(ROOT, keyId(index)).equals(SMALL.generateMerkleProof([keyId(index)])));
    }
});

test("a member, with its entry", async () => {
    const world = await withMap();
    for (const index of [0, 7, 199]) {
        const { member, entry: found } = await ask(world, keyId(index), SMALL.generateMerkleProof([keyId(index)]));
        assert.equal(member, true);
        assert.ok(found.equals(entry()));
    }
    const { member } = await ask(world, keyId(7), convertToMerkleProof(ROOT));
    assert.equal(member, true, "the whole map is a proof, too");
});

test("absent, by proof", async () => {
    const world = await withMap();
    for (const name of ["nobody", "never", "200"]) {
        assert.deepEqual(await ask(world, keyId(name), prove(ROOT, keyId(name))), { member: false, entry: null });
    }
});

test("a map of one key, and the key beside it", async () => {
    const root = rootOf(mapOf(1));
    const world = await withMap(root);
    assert.equal((await ask(world, keyId(0), convertToMerkleProof(root))).member, true);
    assert.equal((await ask(world, keyId(0) ^ 1n, convertToMerkleProof(root))).member, false);
});

test("in the empty map every key is absent, without a proof", async () => {
    const world = await withMap(null);
    assert.equal((await ask(world, NOBODY, null)).member, false);
    await refuses(world, NOBODY, convertToMerkleProof(ROOT), 430);
});

const window = async (fields) => {
    const root = rootOf(mapOf(3, () => entry(fields)));
    const world = await withMap(root);
    return ask(world, keyId(1), prove(root, keyId(1)));
};
test("an entry counts from its first to its last second", async () => {
    assert.equal((await window({ notBefore: START, notAfter: START })).member, true);
    assert.deepEqual(await window({ notBefore: START + 1 }), { member: false, entry: null });
    assert.deepEqual(await window({ notAfter: START - 1 }), { member: false, entry: null });
});

test("430: no proof where the map is not empty", async () => refuses(await withMap(), NOBODY, null, 430));
test("430: a proof from another map", async () => {
    await refuses(await withMap(), keyId(7), convertToMerkleProof(rootOf(mapOf(3))), 430);
});
test("430: a proof from the map of the epoch before", async () => {
    const world = await withMap();
    const other = rootOf(mapOf(201));
    await world.publish({ fields: { mapRoot: number(other.hash()) } });
    await refuses(world, keyId(7), prove(ROOT, keyId(7)), 430);
    assert.equal((await ask(world, keyId(7), prove(other, keyId(7)))).member, true);
});
test("430: the map itself, not as a proof", async () => refuses(await withMap(), keyId(7), ROOT, 430));
test("430: an ordinary cell that reads like a proof", async () => {
    const proof = prove(ROOT, keyId(7));
    const ordinary = beginCell().storeBits(proof.bits).storeRef(ROOT).endCell();
    await refuses(await withMap(), keyId(7), ordinary, 430);
});
test("430: a Merkle update in the place of a proof", async () => {
    const half = (cell) => [cell.hash(0), cell.depth(0)];
    const [hash, depth] = half(ROOT);
    const update = beginCell()
        .storeUint(4, 8)
        .storeBuffer(hash)
        .storeBuffer(hash)
        .storeUint(depth, 16)
        .storeUint(depth, 16)
        .storeRef(ROOT)
        .storeRef(ROOT)
        .endCell({ exotic: true });
    await refuses(await withMap(), keyId(7), update, 430);
});
test("430: a library reference in the place of a proof", async () => {
    const library = beginCell().storeUint(2, 8).storeBuffer(ROOT.hash()).endCell({ exotic: true });
    await refuses(await withMap(), keyId(7), library, 430);
});

// An absent key must never come out of a proof that only does not show it.
test("9: a proof for another key", async () => {
    const world = await withMap();
    for (const index of [8, 9, 10, 11]) {
        await refuses(world, keyId(index), prove(ROOT, keyId(7)), 9);
    }
});
test("9: a proof of nothing but the root's hash", async () => {
    await refuses(await withMap(), keyId(7), convertToMerkleProof(pruned(ROOT)), 9);
});
test("9: a proof that leaves the entry out", async () => {
    await refuses(await withMap(), keyId(7), prove(ROOT, keyId(7), pruned), 9);
});

// Maps that no honest publisher signs.
const signedMap = async (make) => {
    const root = rootOf(mapOf(3, make));
    return [await withMap(root), keyId(1), prove(root, keyId(1))];
};
test("430: an entry of a state that is not known", async () => {
    await refuses(...(await signedMap(() => entry({ state: 2 }))), 430);
});
test("9: an entry with a bit too many", async () =>
    refuses(...(await signedMap(() => beginCell().storeSlice(entry().beginParse()).storeBit(0).endCell())), 9));
test("9: an entry cut short", async () =>
    refuses(...(await signedMap(() => beginCell().storeBits(entry().bits.substring(0, 847)).endCell())), 9));

test("431: before the first checkpoint", async () => refuses(await World.deploy(), NOBODY, null, 431));
test("431: behind the checkpoint's time", async () => {
    const world = await withMap();
    const proof = prove(ROOT, keyId(7));
    world.now = START + 600;
    assert.equal((await ask(world, keyId(7), proof)).member, true, "its last second");
    world.now += 1;
    await refuses(world, keyId(7), proof, 431);
    world.now += DAY;
    await refuses(world, NOBODY, prove(ROOT, NOBODY), 431);
});
test("431: paused", async () => {
    const world = await withMap();
    await world.asAdmin(pauseBody());
    await refuses(world, keyId(7), prove(ROOT, keyId(7)), 431);
    await refuses(world, NOBODY, prove(ROOT, NOBODY), 431);
});

test("440: an answer that could not be paid", async () => {
    const world = await withMap();
    const message = checkKeyBody(keyId(7), prove(ROOT, keyId(7)));
    assert.equal((await world.send(message, { value: 9_999_999n })).exitCode, 440);
    assert.equal((await world.send(message, { value: 10_000_000n })).exitCode, 0);
});

const BAD_BODIES = {
    "a bit too many": body(OP.checkKey).storeUint(NOBODY, 256).storeBit(0).storeBit(0).endCell(),
    "a reference too many": body(OP.checkKey).storeUint(NOBODY, 256).storeBit(0).storeRef(ROOT).endCell(),
    "half a key": body(OP.checkKey).storeUint(1, 128).endCell(),
};
for (const [name, cell] of Object.entries(BAD_BODIES)) {
    test(`9: a question with ${name}`, async () => {
        const world = await withMap(null);
        assert.equal((await world.send(cell)).exitCode, 9);
    });
}
