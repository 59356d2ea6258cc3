// A page of the last release, while the server is upgraded. UPGRADE is the command, as a list in JSON, that installs the
// newer version for PYTHON.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, test } from "node:test";
import { AWAY, closeBrowser, Daemon, joined, say, sees, shown } from "./harness.mjs";

after(closeBrowser);

test("an open page goes on after the upgrade, and so does one that is loaded again", async (t) => {
  const daemon = await Daemon.start(t);
  const { page } = await joined(t, daemon, "Alice", { allow: AWAY });
  const bob = await daemon.udp(t, "Bob");
  await say(page, "before");
  await sees(page, "You: before");
  const [program, ...words] = JSON.parse(process.env.UPGRADE);
  const installed = spawnSync(program, words, { encoding: "utf8" });
  assert.equal(installed.status, 0, installed.stderr);
  await daemon.end("SIGTERM");
  await say(page, "written while the server was away");
  await daemon.start();
  await sees(page, "You: written while the server was away");
  await bob.ask("2 after");
  await sees(page, "Bob: after");
  await page.reload();
  await sees(page, "Bob: after");
  await say(page, "from the newer page");
  await sees(page, "You: from the newer page");
  assert.equal((await bob.ask("5")).split("\n").at(-1), "Alice: from the newer page");
  const lines = await shown(page);
  for (const text of ["before", "written while the server was away", "from the newer page"]) {
    assert.equal(lines.filter((line) => line === `You: ${text}`).length, 1, lines.join("\n"));
  }
});
