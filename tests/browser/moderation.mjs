// What an operator does, as the page shows it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, test } from "node:test";
import { closeBrowser, Daemon, joined, say, sees, shown, until } from "./harness.mjs";

after(closeBrowser);

const operate = (daemon, ...words) =>
  execFileSync(process.env.PYTHON, ["-c", "from groupchat.admin import main; main()", ...words], { cwd: daemon.directory, stdio: "pipe" });

test("what is erased goes at once, in every tab", async (t) => {
  const daemon = await Daemon.start(t);
  const bob = await daemon.telnet(t, "Bob");
  const { page: alice, context } = await joined(t, daemon, "Alice");
  const other = await context.newPage();
  await other.goto(daemon.url);
  bob.send("one", "a secret", "three");
  for (const page of [alice, other]) await sees(page, "Bob: a secret");
  await say(alice, "mine");
  operate(daemon, "erase", "--member", "Bob");
  for (const page of [alice, other]) {
    await until("the texts are gone", async () => !(await page.content()).includes("a secret"));
    const lines = await shown(page);
    assert.equal(lines.filter((line) => line.includes("a line was removed")).length, 3, lines);
  }
  await sees(alice, "You: mine");
});

test("who was removed is told why, and does not join again", async (t) => {
  const daemon = await Daemon.start(t);
  const bob = await daemon.telnet(t, "Bob");
  const { page } = await joined(t, daemon, "Alice");
  operate(daemon, "remove", "Alice", "--why", "spam");
  await page.locator("#door").waitFor();
  assert.match(await page.locator("#door").innerText(), /You were removed: spam/);
  await bob.hears("* Alice was removed");
  await page.reload();
  await page.locator("#door").waitFor();
  await until("the page is at rest", async () => (await page.locator("#door").innerText()).length > 0);
  assert.equal(bob.count("Alice has joined"), 1);
});
