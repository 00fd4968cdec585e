// Compiles the contract: `node compile.mjs` rewrites ../contract/registry.json; the tests hold it to `compile()`.

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { runTolkCompiler } from "@ton/tolk-js";

const FOLDER = new URL("../contract/", import.meta.url);

export async function compile() {
    const result = await runTolkCompiler({
        entrypointFileName: "registry.tolk",
        fsReadCallback: (path) => readFileSync(new URL(path, FOLDER), "utf8"),
    });
    if (result.status !== "ok") {
        throw new Error(result.message);
    }
    const ours = result.sourcesSnapshot.filter(({ filename }) => !filename.startsWith("@stdlib/"));
    return {
        code: result.codeBoc64,
        code_hash: result.codeHashHex.toLowerCase(),
        compiler: { name: "@ton/tolk-js", version: result.tolkVersion },
        sources: Object.fromEntries(
            ours
                .map(({ filename, contents }) => [filename, createHash("sha256").update(contents).digest("hex")])
                .sort(([one], [other]) => (one < other ? -1 : 1)),
        ),
    };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
    const artefact = await compile();
    writeFileSync(new URL("registry.json", FOLDER), `${JSON.stringify(artefact, null, 2)}\n`);
    console.log(`${artefact.code_hash}, ${Buffer.from(artefact.code, "base64").length} bytes`);
}
