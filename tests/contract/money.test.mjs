import assert from "node:assert/strict";
import { test } from "node:test";
import {
    Address, beginCell, body, CHANGE, checkKeyBody, DAY, keyId, OP, pauseBody, proposeBody, publishBody,
    signaturesOf, signers, signingHash, stranger, TON, World,
} from "./world.mjs";

const YEAR = 365 * DAY;

test("an empty body is a gift", async () => {
    const world = await World.deploy();
    const { exitCode, aborted, out } = await world.send(beginCell().endCell(), { value: TON });
    assert.deepEqual([exitCode, aborted, out.length], [0, false, 0]);
    assert.ok(world.account.balance > 2n * TON - TON / 100n);
});

const UNKNOWN = {
    "a text comment": beginCell().storeUint(0, 32).storeBuffer(Buffer.from("hello")).endCell(),
    "an operation that nobody knows": body(0x12345678).endCell(),
    "an answer": body(OP.excesses).endCell(),
    "less than an operation": beginCell().storeUint(OP.publish >> 8, 24).endCell(),
    "references alone": beginCell().storeRef(beginCell().endCell()).endCell(),
};
for (const [name, cell] of Object.entries(UNKNOWN)) {
    test(`0xffff: ${name}`, async () => {
        const world = await World.deploy();
        const { exitCode, bounced } = await world.send(cell);
        assert.deepEqual([exitCode, bounced], [0xffff, true]);
    });
}

test("what bounced is kept and does nothing, whatever it says and whoever seems to send it", async () => {
    const world = await World.deploy();
    const before = world.account.accountState.state.data;
    const real = ({ bits }) =>
        beginCell().storeUint(0xffffffff, 32).storeBits(bits.substring(0, Math.min(bits.length, 256))).endCell();
    const orders = [pauseBody(), proposeBody(CHANGE.unpause())];
    for (const cell of [...orders, ...orders.map(real), real(world.publication())]) {
        const { exitCode, aborted, out } = await world.asAdmin(cell, { bounced: true, bounce: false });
        assert.deepEqual([exitCode, aborted, out.length], [0, false, 0]);
        assert.ok(world.account.accountState.state.data.equals(before));
    }
    // Without the flag the same bytes are no operation at all.
    assert.equal((await world.asAdmin(real(pauseBody()))).exitCode, 0xffff);
});

test("nothing external is accepted", async () => {
    const world = await World.deploy();
    const message = { info: { type: "external-in", dest: world.address, importFee: 0n }, body: world.publication() };
    await assert.rejects(world.account.receiveMessage(message, { now: world.now }), ({ exitCode }) => exitCode === 11);
});

test("the change goes back to who sent it, and what was there stays there to the last coin", async () => {
    const world = await World.deploy();
    for (const value of [TON / 50n, TON, 100n * TON]) {
        const before = world.account.balance;
        const { out, fees, exitCode } = await world.publish({}, { value });
        assert.equal(exitCode, 0);
        assert.ok(out[0].info.dest.equals(stranger));
        assert.equal(out[0].info.bounce, false);
        assert.ok(out[0].body.equals(body(OP.excesses).endCell()));
        assert.equal(world.account.balance, before);
        assert.ok(value - out[0].info.value.coins < TON / 100n, "what it costs");
        assert.ok(fees > 0n);
    }
});

test("too little for the change: published all the same, and the rest is kept", async () => {
    const world = await World.deploy();
    await world.publish();
    const before = world.account.balance;
    const { exitCode, action, aborted, out } = await world.publish({}, { value: 3_300_000n });
    assert.deepEqual([exitCode, action, aborted, out.length], [0, 0, false, 0]);
    assert.ok(world.account.balance >= before);
    assert.equal(world.state.epoch, 2);
});

test("too little for the gas: nothing happens, and what the registry holds is not touched", async () => {
    const world = await World.deploy();
    await world.publish();
    const before = world.account.balance;
    const { exitCode, aborted } = await world.publish({}, { value: 2_000_000n });
    assert.equal(exitCode, -14);
    assert.ok(aborted && world.account.balance >= before);
    assert.equal(world.state.epoch, 1);
});

// A way to the masterchain costs ten times as much, so that the action phase finds what the machine could not know.
test("change that cannot be sent undoes nothing; an answer that cannot be sent is no answer", async () => {
    const world = await World.deploy();
    await world.publish({ fields: { mapRoot: 0n } });
    const from = new Address(-1, Buffer.alloc(32, 1));
    const published = await world.publish({ fields: { mapRoot: 0n } }, { from, value: TON / 100n });
    assert.deepEqual([published.exitCode, published.action, published.out.length], [0, 0, 0]);
    assert.equal(world.state.epoch, 2);

    const before = world.account.accountState.state.data;
    const asked = await world.send(checkKeyBody(keyId(1), null), { from, value: TON / 100n });
    assert.equal(asked.exitCode, 0);
    assert.notEqual(asked.action, 0);
    assert.ok(asked.aborted);
    assert.ok(world.account.accountState.state.data.equals(before));
});

test("no message makes the registry poorer, be it refused or not", async () => {
    const world = await World.deploy();
    const cell = world.checkpoint();
    const messages = [
        [world.publication(), {}],
        [publishBody(cell, signaturesOf(signingHash(cell, world.address), signers(2))), {}],
        [checkKeyBody(keyId(1), null), {}],
        [checkKeyBody(keyId(1), null), { value: TON / 50n }],
        [pauseBody(), {}],
        [pauseBody(), { from: world.address }],
        [body(1).endCell(), { bounce: false }],
    ];
    for (const [message, options] of messages) {
        const before = world.account.balance;
        await world.send(message, options);
        assert.ok(world.account.balance >= before);
    }
});

test("one TON pays the rent of decades, and in all that time it works", async () => {
    const world = await World.deploy();
    await world.publish();
    const before = world.account.balance;
    world.now += 10 * YEAR;
    assert.equal((await world.publish()).exitCode, 0);
    const rent = before - world.account.balance;
    assert.ok(rent > 0n && rent < TON / 3n, `${rent}`);
});

test("in debt: a publication pays the rent first and still publishes", async () => {
    const world = await World.deploy({ balance: 1_000_000n });
    world.now += YEAR;
    assert.equal((await world.publish()).exitCode, 0);
    world.now += 2 * YEAR;
    const { exitCode, aborted } = await world.publish();
    assert.deepEqual([exitCode, aborted], [0, false]);
    assert.equal(world.state.epoch, 2);
});

test("frozen behind a long debt, and thawed by who brings the state and pays", async () => {
    const world = await World.deploy({ balance: TON / 100n });
    assert.equal((await world.publish()).exitCode, 0);
    const { code, data } = world.account.accountState.state;
    world.now += 20 * YEAR;
    const { ran, aborted } = await world.publish({}, { value: 1000n });
    assert.ok(!ran && aborted);
    assert.equal(world.account.accountState.type, "frozen");
    const { exitCode } = await world.send(beginCell().endCell(), { value: 2n * TON, init: { code, data } });
    assert.equal(exitCode, 0);
    assert.equal(world.account.accountState.type, "active");
    assert.equal(world.state.epoch, 1);
    assert.equal((await world.publish()).exitCode, 0);
});
