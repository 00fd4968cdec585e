import assert from "node:assert/strict";
import { test } from "node:test";
import {
    Address, beginCell, body, checkpoint, convertToMerkleProof, DAY, Dictionary, keysOf, MAX_VALIDITY, OP, publishBody,
    refused, sign,
    signaturesOf, signer, signers, signingHash, START, TON, verifiersOf, World,
} from "./world.mjs";

const refuses = (name, exitCode, publication, prepare = () => {}, deployment = {}) =>
    test(`${exitCode}: ${name}`, async () => {
        const world = await World.deploy(deployment);
        await prepare(world);
        await refused(world, () => world.send(publication(world)), exitCode);
    });

const published = async (world) => assert.equal((await world.publish()).exitCode, 0);

test("a checkpoint becomes the state, bit for bit", async () => {
    const world = await World.deploy();
    const times = { issuedAt: START - 7, validUntil: START + 9 };
    const fields = { epoch: 1, treeSize: 12n, logRoot: 3n, mapRoot: 4n, policyDigest: 5n, ...times };
    const { exitCode, action, aborted } = await world.publish({ fields, pairs: signers(4) });
    assert.deepEqual([exitCode, action, aborted], [0, 0, false]);
    const { version, paused, signatures, ...state } = world.state;
    for (const [name, value] of Object.entries(fields)) {
        assert.equal(state[name], value, name);
    }
    assert.deepEqual([version, paused, signatures.keys()], [1, false, [0, 1, 2, 3]]);
    const hash = signingHash(checkpoint(fields), world.address);
    assert.deepEqual(signatures.get(3), sign(hash, signer(3).secretKey));
});

test("any three of five, relayed by anybody, one epoch after the other", async () => {
    const world = await World.deploy();
    const five = signers(5);
    for (let mask = 0; mask < 32; mask++) {
        const pairs = five.map((pair, index) => (mask & (1 << index) ? pair : null));
        const enough = pairs.filter(Boolean).length >= 3;
        assert.equal((await world.publish({ pairs })).exitCode, enough ? 0 : 403, `signers ${mask.toString(2)}`);
    }
    assert.equal(world.state.epoch, 16);
});

test("the tree may stand still, times may stand still, the window may be used to its ends", async () => {
    const world = await World.deploy();
    await published(world);
    const { treeSize, issuedAt } = world.state;
    const still = { treeSize, issuedAt, validUntil: START + MAX_VALIDITY };
    assert.equal((await world.publish({ fields: still })).exitCode, 0);
    assert.equal((await world.publish({ fields: { issuedAt: START + 60, validUntil: START + 1 } })).exitCode, 0);
});

refuses("the tree shrinks", 411, (world) => world.publication({ fields: { treeSize: 9n } }), published);
refuses("the epoch is the stored one", 413, (world) => world.publication({ fields: { epoch: 1 } }), published);
refuses("an epoch is left out", 413, (world) => world.publication({ fields: { epoch: 3 } }), published);
refuses("the first epoch is not 1", 413, (world) => world.publication({ fields: { epoch: 0 } }));
refuses("issued in the future", 414, (world) => world.publication({ fields: { issuedAt: START + 61 } }));
refuses("issued before the previous one", 414, (world) => world.publication({ fields: { issuedAt: START - 1 } }),
    published);
refuses("over at this second", 412, (world) => world.publication({ fields: { validUntil: START } }));
refuses("valid for too long", 412, (world) => world.publication({ fields: { validUntil: START + MAX_VALIDITY + 1 } }));
refuses("paused", 402, (world) => world.publication(), (world) => world.asAdmin(body(OP.pause).endCell()));

refuses("two signatures", 403, (world) => world.publication({ pairs: signers(2) }));
refuses("no signatures", 403, (world) => world.publication({ pairs: [] }));
refuses("an index without a verifier, beside enough good ones", 404, (world) =>
    world.publication({ pairs: signers(6) }));
refuses("one bad signature beside enough good ones", 405, (world) =>
    world.publication({ pairs: [...signers(4), signer(9)] }));
refuses("one signer under three indexes", 405, (world) =>
    world.publication({ pairs: [signer(0), signer(0), signer(0)] }));
refuses("signed for another registry", 405, (world) =>
    world.publication({ registry: new Address(0, Buffer.alloc(32, 0x11)) }));
refuses("signed for the same account in another workchain", 405, (world) =>
    world.publication({ registry: new Address(-1, world.address.hash) }));
refuses("signed for the test network", 405, (world) => world.publication({ globalId: -3 }));
refuses("signed for another epoch", 405, (world) => {
    const other = signaturesOf(signingHash(world.checkpoint({ epoch: 1 }), world.address), signers(3));
    return publishBody(world.checkpoint(), other);
}, published);
refuses("the checkpoint signed without its domain", 405, (world) =>
    publishBody(world.checkpoint(), signaturesOf(world.checkpoint().hash(), signers(3))));

test("413: the same message twice", async () => {
    const world = await World.deploy();
    const message = world.publication();
    assert.equal((await world.send(message)).exitCode, 0);
    await refused(world, () => world.send(message), 413);
});

test("404: a removed verifier signs no more; 405: nor does the one that it has become", async () => {
    const world = await World.deploy({ governance: { verifiers: verifiersOf(keysOf(signers(4))) } });
    await refused(world, () => world.publish({ pairs: signers(5) }), 404);
    const verifiers = verifiersOf(keysOf([signer(0), signer(1), signer(9)]));
    const swapped = await World.deploy({ governance: { verifiers } });
    await refused(swapped, () => swapped.publish(), 405);
});

const badGroups = {
    "two indexes with one key": [verifiersOf(keysOf([signer(0), signer(1), signer(0)])), 2],
    "a key of zeros": [verifiersOf([...keysOf(signers(2)), 0n]), 2],
    "no threshold": [verifiersOf(keysOf(signers(3))), 0],
    "a threshold out of reach": [verifiersOf(keysOf(signers(3))), 4],
    "no verifiers": [verifiersOf([]), 0],
    "17 verifiers": [verifiersOf(keysOf(signers(17))), 3],
};
for (const [name, [verifiers, threshold]] of Object.entries(badGroups)) {
    refuses(`deployed with ${name}`, 425, (world) => world.publication({ pairs: signers(2) }), undefined, {
        governance: { verifiers, threshold },
    });
}

test("16 verifiers, all of them sign: within the gas of 0.05 TON", async () => {
    const world = await World.deploy({ governance: { verifiers: verifiersOf(keysOf(signers(16))), threshold: 16 } });
    assert.equal((await world.publish({ pairs: signers(16) })).exitCode, 0);
    const { exitCode, gas } = await world.publish({ pairs: signers(16) }, { value: TON / 20n });
    assert.equal(exitCode, 0);
    assert.ok(gas < 125_000, `${gas}`);
});

test("256 signatures are refused at the first index that is none", async () => {
    const world = await World.deploy();
    await published(world);
    const hash = signingHash(world.checkpoint(), world.address);
    const one = sign(hash, signer(0).secretKey);
    const all = Dictionary.empty(Dictionary.Keys.Uint(8), Dictionary.Values.Buffer(64));
    signers(5).forEach((pair, index) => all.set(index, sign(hash, pair.secretKey)));
    for (let index = 5; index < 256; index++) {
        all.set(index, one);
    }
    const { exitCode, gas } = await world.send(publishBody(world.checkpoint(), all));
    assert.equal(exitCode, 404);
    assert.ok(gas < 10_000, `${gas}`);
});

// What is no checkpoint, though its signatures are good.
const signedCell = (make) => (world) => {
    const cell = make(world);
    return publishBody(cell, signaturesOf(signingHash(cell, world.address), signers(3)));
};
const stretched = (cell, more) => more(beginCell().storeSlice(cell.beginParse())).endCell();
refuses("another tag", 410, signedCell((world) =>
    beginCell().storeUint(0x287f43b4, 32).storeBits(world.checkpoint().bits.substring(32, 928)).endCell()));
refuses("an empty checkpoint", 410, signedCell(() => beginCell().endCell()));
refuses("a checkpoint with a bit too many", 9, signedCell((world) =>
    stretched(world.checkpoint(), (all) => all.storeBit(0))));
refuses("a checkpoint with a reference", 9, signedCell((world) =>
    stretched(world.checkpoint(), (all) => all.storeRef(beginCell().endCell()))));
refuses("a checkpoint cut short", 9, signedCell((world) =>
    beginCell().storeBits(world.checkpoint().bits.substring(0, 952)).endCell()));
refuses("a library reference for a checkpoint", 9, signedCell((world) =>
    beginCell().storeUint(2, 8).storeBuffer(world.checkpoint().hash()).endCell({ exotic: true })));
refuses("a proof for a checkpoint", 9, signedCell((world) => convertToMerkleProof(world.checkpoint())));

// Bodies that hold one thing too much or too little.
const good = (world) => {
    const cell = world.checkpoint();
    return [cell, signaturesOf(signingHash(cell, world.address), signers(3))];
};
refuses("a message with a bit too many", 9, (world) => {
    const [cell, signatures] = good(world);
    return body(OP.publish).storeRef(cell).storeDict(signatures).storeBit(1).endCell();
});
refuses("a message with a reference too many", 9, (world) => {
    const [cell, signatures] = good(world);
    return body(OP.publish).storeRef(cell).storeDict(signatures).storeRef(cell).endCell();
});
refuses("a message without signatures", 9, (world) => body(OP.publish).storeRef(world.checkpoint()).endCell());

const oddValue = (extra) => (world) => {
    const cell = world.checkpoint();
    const hash = signingHash(cell, world.address);
    const odd = Dictionary.empty(Dictionary.Keys.Uint(8), {
        serialize: ([signature, more], builder) => more(builder.storeBuffer(signature)),
        parse: () => null,
    });
    signers(3).forEach((pair, index) => odd.set(index, [sign(hash, pair.secretKey), index === 1 ? extra : () => {}]));
    return publishBody(cell, odd);
};
refuses("a signature with a bit too many", 9, oddValue((builder) => builder.storeBit(0)));
refuses("a signature with a reference", 9, oddValue((builder) => builder.storeRef(beginCell().endCell())));
refuses("a signature cut short", 9, (world) => {
    const short = Dictionary.empty(Dictionary.Keys.Uint(8), Dictionary.Values.Buffer(63));
    [0, 1, 2].forEach((index) => short.set(index, Buffer.alloc(63, 1)));
    return publishBody(world.checkpoint(), short);
});
refuses("a dictionary that is none", 10, (world) => {
    const [cell, signatures] = good(world);
    const { bits, refs } = beginCell().storeDictDirect(signatures).endCell();
    const fork = beginCell().storeBits(bits).storeBit(0).storeRef(refs[0]).storeRef(refs[1]).endCell();
    return body(OP.publish).storeRef(cell).storeBit(1).storeRef(fork).endCell();
});

// The machine takes labels that are not the shortest: readers of the state have to take them as well.
test("a relayer may spell the dictionary of signatures in its own way", async () => {
    const world = await World.deploy({ governance: { verifiers: verifiersOf(keysOf([signer(0)])), threshold: 1 } });
    const cell = world.checkpoint();
    const signature = sign(signingHash(cell, world.address), signer(0).secretKey);
    const long = beginCell().storeUint(0b10, 2).storeUint(8, 4).storeUint(0, 8).storeBuffer(signature).endCell();
    const { exitCode } = await world.send(body(OP.publish).storeRef(cell).storeBit(1).storeRef(long).endCell());
    assert.equal(exitCode, 0);
    assert.deepEqual(world.state.signatures.get(0), signature);
});

test("a checkpoint of yesterday is refused, whoever kept it back", async () => {
    const world = await World.deploy();
    const message = world.publication();
    world.now += DAY;
    await refused(world, () => world.send(message), 412);
});
