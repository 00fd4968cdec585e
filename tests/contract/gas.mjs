// What every operation costs: `node gas.mjs` rewrites gas.json beside the contract, gas.test.mjs holds the code to it.
// Gas is that of the whole transaction of the registry, answer and change included.

import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import {
    beginCell, cancelBody, CHANGE, checkKeyBody, CODE, executeBody, keyId, keysOf, mapOf, number, pauseBody,
    proposeBody, prove, rootOf, signer, signers, stranger, verifiersOf, World,
} from "./world.mjs";

export const SNAPSHOT = new URL("../../attestd/chain/contract/gas.json", import.meta.url);
const SAMPLES = 40;

async function gasOf(outcome) {
    const { exitCode, action, gas } = await outcome;
    if (exitCode !== 0 || action !== 0) {
        throw new Error(`exit code ${exitCode}, action ${action}`);
    }
    return gas;
}

const subsets = (of, size) =>
    Array.from({ length: 2 ** of }, (_, mask) =>
        Array.from({ length: of }, (__, index) => ((mask >> index) & 1 ? index : null)),
    ).filter((indexes) => indexes.filter((index) => index !== null).length === size);

// The dearest choice of signers, where there is a choice worth trying.
async function publications(threshold, count, exhaustive = false) {
    const all = signers(count);
    const world = await World.deploy({ governance: { verifiers: verifiersOf(keysOf(all)), threshold } });
    const first = await gasOf(world.publish({ pairs: all.slice(0, threshold) }));
    const choices = exhaustive ? subsets(count, threshold) : [[...all.keys()].slice(0, threshold)];
    const costs = [];
    for (const choice of choices) {
        costs.push(await gasOf(world.publish({ pairs: choice.map((index) => (index === null ? null : all[index])) })));
    }
    return { first, later: Math.max(...costs) };
}

async function lookups(count, report) {
    const root = rootOf(mapOf(count));
    const world = await World.deploy();
    await world.publish({ fields: { mapRoot: number(root.hash()) } });
    const [messages, getters, absent] = [[], [], []];
    for (let index = 0; index < Math.min(SAMPLES, count); index++) {
        const proof = prove(root, keyId(index));
        messages.push(await gasOf(world.send(checkKeyBody(keyId(index), proof))));
        const asked = await world.get("check_key", { type: "int", value: keyId(index) }, { type: "cell", cell: proof });
        getters.push(Number(asked.gasUsed));
        const nobody = keyId(`nobody ${index}`);
        absent.push(await gasOf(world.send(checkKeyBody(nobody, prove(root, nobody)))));
    }
    report(`check_key member, ${count} keys, message`, Math.max(...messages));
    report(`check_key absent, ${count} keys, message`, Math.max(...absent));
    report(`check_key member, ${count} keys, getter`, Math.max(...getters));
}

async function governance(report) {
    const world = await World.deploy();
    const changes = {
        set_verifiers: CHANGE.setVerifiers(3, verifiersOf(keysOf([5, 6, 7, 8, 9].map(signer)))),
        set_max_validity: CHANGE.setMaxValidity(100),
        set_timelock: CHANGE.setTimelock(100),
        unpause: CHANGE.unpause(),
        upgrade: CHANGE.upgrade(CODE),
        "approve 1": CHANGE.approve(0, [keyId(1)]),
        "withdraw 1": CHANGE.withdraw(0, [keyId(1)]),
        set_admin: CHANGE.setAdmin(stranger),
    };
    report("pause", await gasOf(world.asAdmin(pauseBody())));
    for (const [name, change] of Object.entries(changes)) {
        const id = world.state.nextProposal;
        report(`propose ${name}`, await gasOf(world.asAdmin(proposeBody(change))));
        world.now += world.state.timelock;
        report(`execute ${name}`, await gasOf(world.asAdmin(executeBody(id))));
    }
    await gasOf(world.send(proposeBody(CHANGE.unpause()), { from: stranger }));
    report("cancel", await gasOf(world.send(cancelBody(world.state.nextProposal - 1), { from: stranger })));
    report("gift", await gasOf(world.send(beginCell().endCell())));
}

export async function measure() {
    const gas = {};
    const report = (name, value) => {
        gas[name] = value;
    };
    for (const [threshold, count] of [[1, 1], [2, 3], [3, 5], [5, 7], [9, 13], [16, 16]]) {
        const { first, later } = await publications(threshold, count, count === 5);
        report(`publish ${threshold}-of-${count}`, later);
        report(`publish ${threshold}-of-${count}, the first`, first);
    }
    await lookups(1000, report);
    await lookups(20000, report);
    await governance(report);
    return gas;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
    writeFileSync(SNAPSHOT, `${JSON.stringify(await measure(), null, 2)}\n`);
}
