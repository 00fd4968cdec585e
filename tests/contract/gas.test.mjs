import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { measure, SNAPSHOT } from "./gas.mjs";

const snapshot = JSON.parse(readFileSync(SNAPSHOT, "utf8"));

test("every operation costs what is written down", async () => {
    assert.deepEqual(await measure(), snapshot, "`make contract` writes it anew");
});

test("publishing with 3 of 5 signatures stays within 8,000, whichever three they are", () => {
    assert.ok(snapshot["publish 3-of-5"] <= 8000);
});

test("check_key stays within 6,000 at 20,000 keys, as a message and as a getter", () => {
    const asked = Object.entries(snapshot).filter(([name]) => /^check_key .* 20000 keys/.test(name));
    assert.equal(asked.length, 3);
    for (const [name, gas] of asked) {
        assert.ok(gas <= 6000, `${name}: ${gas}`);
    }
});
