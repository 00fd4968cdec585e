import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ARTEFACT, Cell, compile } from "./world.mjs";

test("the sources compile to the code that is kept", async () => {
    assert.deepEqual(await compile(), ARTEFACT, "`make contract` writes it anew");
});

test("the hash is that of the code, the compiler the one that is pinned", () => {
    assert.equal(Cell.fromBase64(ARTEFACT.code).hash().toString("hex"), ARTEFACT.code_hash);
    const project = JSON.parse(readFileSync(new URL("../../attestd/chain/node/package.json", import.meta.url), "utf8"));
    assert.equal(project.dependencies[ARTEFACT.compiler.name], ARTEFACT.compiler.version);
});

test("the lock names hashes and no address", () => {
    const lock = readFileSync(new URL("../../attestd/chain/node/package-lock.json", import.meta.url), "utf8");
    const { packages } = JSON.parse(lock);
    for (const [name, { integrity }] of Object.entries(packages)) {
        assert.ok(name === "" || integrity.startsWith("sha512-"), name);
    }
    assert.doesNotMatch(lock, /resolved|https?:/);
});
