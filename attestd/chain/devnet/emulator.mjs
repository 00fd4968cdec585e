// The TVM of the devnet: one request per line of JSON on stdin, one answer per line on stdout, in the same order.
// Node resolves @ton/sandbox from the folder that is named in the first argument. Ends when stdin does.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const OLDEST_NODE = 20;
// What a liteserver allows a get-method.
const GET_METHOD_GAS = 1_000_000n;
const GLOBAL_ID = 19;

const answer = (value) => process.stdout.write(JSON.stringify(value) + "\n");

if (parseInt(process.versions.node, 10) < OLDEST_NODE) {
  answer({ refused: `Node ${process.versions.node}` });
  process.exit(1);
}

const require = createRequire(process.argv[2] + "/");
const { Executor, defaultConfig } = require("@ton/sandbox");
const { Address, beginCell, Cell, Dictionary, parseTuple } = require("@ton/core");

const executor = await Executor.create();
let config;

// Config parameter 19 is what GLOBALID gives to contracts: signatures made for this network are good on no other.
function start({ globalId }) {
  const parameters = Dictionary.loadDirect(Dictionary.Keys.Int(32), Dictionary.Values.Cell(), Cell.fromBase64(defaultConfig));
  parameters.set(GLOBAL_ID, beginCell().storeInt(globalId, 32).endCell());
  config = beginCell().storeDictDirect(parameters).endCell().toBoc().toString("base64");
  return { config, node: process.versions.node };
}

// A message that the emulator cannot take is none that any contract accepts.
async function transaction({ account, message, now, lt, seed }) {
  const { result } = await runTransaction({
    config,
    libs: null,
    verbosity: "short",
    shardAccount: account,
    message: Cell.fromBase64(message),
    now,
    lt: BigInt(lt),
    randomSeed: Buffer.from(seed, "base64"),
    ignoreChksig: false,
    debugEnabled: false,
  });
  return result.success
    ? { transaction: result.transaction, account: result.shardAccount }
    : { rejected: result.error, exitCode: result.vmResults?.vmExitCode ?? null };
}

async function getMethod({ code, data, address, method, stack, now, balance, seed }) {
  const { output } = await executor.runGetMethod({
    config,
    verbosity: "short",
    code: Cell.fromBase64(code),
    data: Cell.fromBase64(data),
    methodId: method,
    stack: parseTuple(Cell.fromBase64(stack)),
    address: Address.parseRaw(address),
    unixTime: now,
    balance: BigInt(balance),
    randomSeed: Buffer.from(seed, "base64"),
    gasLimit: GET_METHOD_GAS,
    debugEnabled: false,
  });
  if (!output.success) throw new Error(output.error);
  return { exitCode: output.vm_exit_code, stack: output.stack };
}

async function runTransaction(given) {
  try {
    return await executor.runTransaction(given);
  } catch (error) {
    return { result: { success: false, error: String(error) } };
  }
}

const calls = { start, transaction, getMethod };

for await (const line of createInterface({ input: process.stdin })) {
  const { call, ...given } = JSON.parse(line);
  try {
    answer(await calls[call](given));
  } catch (error) {
    answer({ failed: String(error) });
  }
}
