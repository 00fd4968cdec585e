import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import {
    Address, admin, beginCell, body, cancelBody, CHANGE, CODE, DAY, Dictionary, executeBody, keyId, keysOf,
    OP, pauseBody, proposeBody, refused, signer, signers, START, stranger, TIMELOCK, verifiersOf, World,
} from "./world.mjs";

const GRACE = 30 * DAY;
const int = (value) => ({ type: "int", value });

// Why a getter refused.
const exitCode = async (asked) => (await asked.catch((error) => error)).exitCode;

async function accepted(outcome) {
    const { exitCode, action, aborted } = await outcome;
    assert.deepEqual([exitCode, action, aborted], [0, 0, false]);
}

// Proposes as the admin and waits until it may be executed.
async function ripe(world, change) {
    const id = world.state.nextProposal;
    await accepted(world.asAdmin(proposeBody(change)));
    world.now += world.state.timelock;
    return id;
}

async function change(world, cell, message = {}) {
    const id = await ripe(world, cell);
    await accepted(world.asAdmin(executeBody(id), message));
}

// All but the proposals, in a form to compare.
const unchanged = ({ nextProposal: _, proposals: __, ...rest }) => inspect(rest, { depth: 9, maxArrayLength: null });

test("a proposal waits for its time, changes nothing before, and is gone behind it", async () => {
    const world = await World.deploy();
    const before = unchanged(world.state);
    await accepted(world.asAdmin(proposeBody(CHANGE.setTimelock(60))));
    const found = await world.get("get_proposal", int(0n));
    assert.equal(found.stackReader.readNumber(), START + TIMELOCK);
    assert.equal(found.stackReader.readNumber(), START + TIMELOCK + GRACE);
    assert.ok(found.stackReader.readCell().equals(CHANGE.setTimelock(60)));
    assert.deepEqual(unchanged(world.state), before);

    world.now += TIMELOCK - 1;
    await refused(world, () => world.asAdmin(executeBody(0)), 421);
    world.now += 1;
    await accepted(world.asAdmin(executeBody(0)));
    assert.equal(world.state.timelock, 60);
    assert.equal(world.state.proposals.size, 0);
    await refused(world, () => world.asAdmin(executeBody(0)), 420);
});

test("a proposal can be executed to the last second of its grace, and never behind it", async () => {
    const world = await World.deploy();
    const first = await ripe(world, CHANGE.setTimelock(60));
    const second = world.state.nextProposal;
    await accepted(world.asAdmin(proposeBody(CHANGE.setTimelock(70))));
    world.now += GRACE;
    await accepted(world.asAdmin(executeBody(first)));
    world.now += TIMELOCK + 1;
    await refused(world, () => world.asAdmin(executeBody(second)), 422);
    await accepted(world.asAdmin(cancelBody(second)));
    assert.equal(world.state.timelock, 60);
});

test("a cancelled proposal is gone", async () => {
    const world = await World.deploy();
    const id = await ripe(world, CHANGE.setTimelock(60));
    await accepted(world.asAdmin(cancelBody(id)));
    await refused(world, () => world.asAdmin(executeBody(id)), 420);
    await refused(world, () => world.asAdmin(cancelBody(id)), 420);
});

test("a shorter timelock waits for the longer one", async () => {
    const world = await World.deploy();
    const shorter = world.state.nextProposal;
    await accepted(world.asAdmin(proposeBody(CHANGE.setTimelock(0))));
    const upgrade = world.state.nextProposal;
    await accepted(world.asAdmin(proposeBody(CHANGE.unpause())));
    world.now += TIMELOCK - 1;
    await refused(world, () => world.asAdmin(executeBody(shorter)), 421);
    world.now += 1;
    await accepted(world.asAdmin(executeBody(shorter)));
    await accepted(world.asAdmin(executeBody(upgrade)));
    // Only what is proposed from now on is fast.
    await accepted(world.asAdmin(proposeBody(CHANGE.setMaxValidity(7))));
    await accepted(world.asAdmin(executeBody(2)));
    assert.equal(world.state.maxValidity, 7);
});

test("what was proposed under the longer timelock keeps it", async () => {
    const world = await World.deploy();
    await accepted(world.asAdmin(proposeBody(CHANGE.setTimelock(0))));
    world.now += TIMELOCK - 10;
    await accepted(world.asAdmin(proposeBody(CHANGE.setMaxValidity(7))));
    world.now += 10;
    await accepted(world.asAdmin(executeBody(0)));
    await refused(world, () => world.asAdmin(executeBody(1)), 421);
});

test("401: nobody but the admin proposes, executes, cancels or pauses (R12)", async () => {
    const world = await World.deploy();
    const id = await ripe(world, CHANGE.unpause());
    const orders = [proposeBody(CHANGE.unpause()), executeBody(id), cancelBody(id), pauseBody()];
    const others = [stranger, world.address, new Address(-1, admin.hash)];
    for (const order of orders) {
        for (const from of others) {
            await refused(world, () => world.send(order, { from }), 401);
        }
    }
});

test("a pause is immediate, an end of it is not; nothing is lost", async () => {
    const world = await World.deploy();
    await accepted(world.publish());
    await accepted(world.asAdmin(pauseBody()));
    await accepted(world.asAdmin(pauseBody()));
    assert.equal(world.state.paused, true);
    await refused(world, () => world.publish(), 402);
    const id = world.state.nextProposal;
    await accepted(world.asAdmin(proposeBody(CHANGE.unpause())));
    await refused(world, () => world.asAdmin(executeBody(id)), 421);
    world.now += TIMELOCK;
    await accepted(world.asAdmin(executeBody(id)));
    assert.deepEqual([world.state.paused, world.state.epoch], [false, 1]);
    await accepted(world.publish());
});

test("new verifiers: the old ones sign no more", async () => {
    const world = await World.deploy();
    await accepted(world.publish());
    const fresh = [signer(20), signer(21)];
    await change(world, CHANGE.setVerifiers(2, verifiersOf(keysOf(fresh))));
    await refused(world, () => world.publish(), 405);
    await accepted(world.publish({ pairs: fresh }));
    assert.deepEqual([world.state.threshold, world.state.verifiers.values()], [2, keysOf(fresh)]);
});

test("new verifiers: what the old ones signed before, and which comes behind the change, is refused (R08)", async () => {
    const world = await World.deploy();
    await accepted(world.publish());
    const id = await ripe(world, CHANGE.setVerifiers(2, verifiersOf(keysOf([signer(0), signer(1)]))));
    const under = world.publication({ pairs: signers(3) });
    await accepted(world.asAdmin(executeBody(id)));
    await refused(world, () => world.send(under), 404);
    await accepted(world.publish({ pairs: signers(2) }));
});

test("verifiers are kept in the canonical form, however they were proposed", async () => {
    const world = await World.deploy();
    const [key] = keysOf([signer(20)]);
    const long = beginCell().storeUint(0b10, 2).storeUint(8, 4).storeUint(0, 8).storeUint(key, 256).endCell();
    await change(world, beginCell().storeUint(1, 8).storeUint(1, 8).storeBit(1).storeRef(long).endCell());
    const governance = world.account.accountState.state.data.refs[0];
    assert.ok(governance.refs[0].equals(beginCell().storeDictDirect(verifiersOf([key])).endCell()));
});

test("a new admin rules alone, over what the old one has proposed as well", async () => {
    const world = await World.deploy();
    const id = await ripe(world, CHANGE.setAdmin(stranger));
    await accepted(world.asAdmin(proposeBody(CHANGE.setTimelock(1))));
    await accepted(world.asAdmin(executeBody(id)));
    await refused(world, () => world.asAdmin(pauseBody()), 401);
    await refused(world, () => world.asAdmin(executeBody(1)), 401);
    await accepted(world.send(cancelBody(1), { from: stranger }));
    await accepted(world.send(pauseBody(), { from: stranger }));
});

test("30 days are the longest timelock and the longest validity", async () => {
    const world = await World.deploy();
    await change(world, CHANGE.setTimelock(30 * DAY));
    await change(world, CHANGE.setMaxValidity(30 * DAY));
    assert.deepEqual([world.state.timelock, world.state.maxValidity], [30 * DAY, 30 * DAY]);
});

test("max_validity binds the next checkpoint", async () => {
    const world = await World.deploy();
    await change(world, CHANGE.setMaxValidity(100));
    await refused(world, () => world.publish({ fields: { validUntil: world.now + 101 } }), 412);
    await accepted(world.publish({ fields: { validUntil: world.now + 100 } }));
});

test("new code runs behind the timelock, on the state as it was", async () => {
    const world = await World.deploy();
    const code = beginCell().storeRef(CODE).endCell();
    const id = await ripe(world, CHANGE.upgrade(code));
    const state = unchanged(world.state);
    await accepted(world.asAdmin(executeBody(id)));
    assert.ok(world.account.accountState.state.code.equals(code));
    assert.deepEqual(unchanged(world.state), state);
});

const isApproved = async (world, set, digest) => {
    const { stackReader } = await world.get("is_approved", int(BigInt(set)), int(digest));
    return stackReader.readBoolean();
};

test("approved and withdrawn digests, each set for itself", async () => {
    const world = await World.deploy({ governance: { sets: [[], [3n], []] } });
    for (const set of [0, 1, 2]) {
        assert.equal(await isApproved(world, set, 7n), false);
        await change(world, CHANGE.approve(set, [7n, 8n]));
        await change(world, CHANGE.approve(set, [8n, 9n]));
        assert.equal(await isApproved(world, set, 7n), true);
    }
    await change(world, CHANGE.withdraw(1, [7n, 3n, 1000n]));
    const all = [0, 1, 2].map((set) => world.state.sets[set].keys());
    assert.deepEqual(all, [[7n, 8n, 9n], [8n, 9n], [7n, 8n, 9n]]);
    assert.equal(await isApproved(world, 1, 7n), false);
    assert.equal(await exitCode(world.get("is_approved", int(3n), int(7n))), 423);
});

test("48 digests into a set of a thousand fit into one transaction", async () => {
    const digest = (index) => keyId(`digest ${index}`);
    const thousand = Array.from({ length: 1000 }, (_, index) => digest(index));
    const world = await World.deploy({ governance: { sets: [[], [], thousand] } });
    const more = Array.from({ length: 48 }, (_, index) => digest(2000 + index));
    const id = await ripe(world, CHANGE.approve(2, more));
    const { exitCode, action, gas } = await world.asAdmin(executeBody(id));
    assert.deepEqual([exitCode, action], [0, 0]);
    assert.ok(gas < 800_000, `${gas}`);
    assert.equal(world.state.sets[2].size, 1048);
    await change(world, CHANGE.withdraw(2, more));
    assert.equal(world.state.sets[2].size, 1000);
});

test("424: sixteen proposals are as many as may wait", async () => {
    const world = await World.deploy();
    for (let index = 0; index < 16; index++) {
        await accepted(world.asAdmin(proposeBody(CHANGE.unpause())));
    }
    await refused(world, () => world.asAdmin(proposeBody(CHANGE.unpause())), 424);
    await accepted(world.asAdmin(cancelBody(5)));
    await accepted(world.asAdmin(proposeBody(CHANGE.unpause())));
    assert.deepEqual([world.state.nextProposal, world.state.proposals.size], [17, 16]);
});

const kind = (number) => beginCell().storeUint(number, 8);
const valued = Dictionary.empty(Dictionary.Keys.BigUint(256), Dictionary.Values.Uint(1)).set(7n, 1);
const numbers = (count) => Array.from({ length: count }, (_, index) => BigInt(index));
const group = (keys, threshold) => CHANGE.setVerifiers(threshold, verifiersOf(keys));
const LIBRARY = beginCell().storeUint(2, 8).storeBuffer(CODE.hash()).endCell({ exotic: true });
const BAD_CHANGES = {
    "an unknown kind": [423, kind(9).endCell()],
    "kind 0": [423, kind(0).endCell()],
    "nothing": [423, beginCell().endCell()],
    "an end of the pause with more": [9, kind(5).storeBit(0).endCell()],
    "verifiers with more": [9, beginCell().storeSlice(group(keysOf(signers(2)), 1).beginParse()).storeBit(0).endCell()],
    "a timelock with a reference": [9, kind(3).storeUint(7, 32).storeRef(CODE).endCell()],
    "a timelock cut short": [9, kind(3).storeUint(7, 31).endCell()],
    "a timelock beyond 30 days": [423, CHANGE.setTimelock(30 * DAY + 1)],
    "a timelock that would lock everything": [423, CHANGE.setTimelock(2 ** 32 - 1)],
    "a validity of nothing": [423, CHANGE.setMaxValidity(0)],
    "a validity beyond 30 days": [423, CHANGE.setMaxValidity(30 * DAY + 1)],
    "no admin": [9, kind(2).storeAddress(null).endCell()],
    "an upgrade without code": [9, kind(6).endCell()],
    "an upgrade to a library reference": [423, CHANGE.upgrade(LIBRARY)],
    "an unknown set": [423, CHANGE.approve(3, [7n])],
    "no digests to approve": [423, CHANGE.approve(0, [])],
    "no digests to withdraw": [423, CHANGE.withdraw(0, [])],
    "49 digests": [423, CHANGE.approve(0, numbers(49))],
    "a digest with a value": [9, kind(7).storeUint(0, 8).storeDict(valued).endCell()],
    "a library reference": [423, LIBRARY],
    "two verifiers with one key": [425, group(keysOf([signer(0), signer(1), signer(0)]), 2)],
    "a verifier of zeros": [425, group([...keysOf(signers(2)), 0n], 2)],
    "no threshold": [425, group(keysOf(signers(3)), 0)],
    "a threshold out of reach": [425, group(keysOf(signers(3)), 4)],
    "no verifiers": [425, group([], 0)],
    "17 verifiers": [425, group(keysOf(signers(17)), 3)],
};
for (const [name, [exitCode, cell]] of Object.entries(BAD_CHANGES)) {
    test(`${exitCode}: ${name} cannot be proposed`, async () => {
        const world = await World.deploy();
        await refused(world, () => world.asAdmin(proposeBody(cell)), exitCode);
    });
}

const BAD_ORDERS = {
    "a proposal with a bit too many": body(OP.propose).storeRef(CHANGE.unpause()).storeBit(0).endCell(),
    "a proposal with a reference too many": body(OP.propose).storeRef(CHANGE.unpause()).storeRef(CODE).endCell(),
    "a proposal of nothing": body(OP.propose).endCell(),
    "an execution with a bit too many": body(OP.execute).storeUint(0, 33).endCell(),
    "a cancellation cut short": body(OP.cancel).storeUint(0, 31).endCell(),
    "a pause with a reference": body(OP.pause).storeRef(CODE).endCell(),
    "a pause without a query": beginCell().storeUint(OP.pause, 32).endCell(),
};
for (const [name, cell] of Object.entries(BAD_ORDERS)) {
    test(`9: ${name}`, async () => {
        const world = await World.deploy();
        await ripe(world, CHANGE.unpause());
        await refused(world, () => world.asAdmin(cell), 9);
    });
}

test("the admin's change goes back to the admin", async () => {
    const world = await World.deploy();
    const { out } = await world.asAdmin(pauseBody());
    assert.equal(out.length, 1);
    assert.ok(out[0].info.dest.equals(admin));
    assert.ok(out[0].body.equals(body(OP.excesses).endCell()));
});

test("the getters say what the state says", async () => {
    const world = await World.deploy();
    await accepted(world.publish());
    const { state } = world;
    const { stackReader: shown } = await world.get("get_checkpoint");
    assert.equal(shown.readBoolean(), false);
    for (const name of ["epoch", "treeSize", "logRoot", "mapRoot", "policyDigest", "issuedAt", "validUntil"]) {
        assert.equal(shown.readBigNumber(), BigInt(state[name]), name);
    }
    assert.ok(shown.readCell().equals(world.account.accountState.state.data.refs[0]));
    const { stackReader: rules } = await world.get("get_governance");
    assert.ok(rules.readAddress().equals(admin));
    for (const name of ["threshold", "timelock", "maxValidity", "nextProposal"]) {
        assert.equal(rules.readNumber(), state[name], name);
    }
    assert.ok(rules.readCell().equals(beginCell().storeDictDirect(state.verifiers).endCell()));
    assert.equal(await exitCode(world.get("get_proposal", int(0n))), 420);
});
