// What an operator does, as the page shows it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, test } from "node:test";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AWAY, closeBrowser, Daemon, joined, REFUSED, say, sees, shown, until } from "./harness.mjs";

after(closeBrowser);

const axe = createRequire(import.meta.url).resolve("axe-core");

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
  const { page } = await joined(t, daemon, "Alice", { allow: REFUSED });
  operate(daemon, "remove", "Alice", "--why", "spam");
  await page.locator("#door").waitFor();
  assert.match(await page.locator("#door").innerText(), /You were removed: spam/);
  await bob.hears("* Alice was removed");
  await page.reload();
  await page.locator("#door").waitFor();
  await page.locator("#door-why", { hasText: "spam" }).waitFor();
  assert.equal(bob.count("Alice has joined"), 1);
});

/** A group with the password of operators, and an operator's page. */
async function operated(t, name, options) {
  const daemon = await Daemon.start(t, "--files", "files", "--operator-file", await passwords(t));
  const { page, context } = await joined(t, daemon, name, options);
  await say(page, "/operator sesame");
  await page.locator("body.operator").waitFor();
  return { daemon, page, context };
}

async function passwords(t) {
  const directory = await mkdtemp(join(tmpdir(), "groupchat-operators-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  await writeFile(join(directory, "operators"), "sesame\n");
  return join(directory, "operators");
}

const told = (page) => page.locator("#length").innerText();
const tells = (page, words) => until(`the page tells ${words}`, async () => (await told(page)).includes(words));
const stored = (page) => page.evaluate(() => JSON.stringify({ ...localStorage }));

test("the password of an operator is never said or stored", async (t) => {
  const daemon = await Daemon.start(t, "--operator-file", await passwords(t));
  const bob = await daemon.telnet(t, "Bob");
  const { page } = await joined(t, daemon, "Alice", { allow: REFUSED });
  await page.locator("#text").fill("a draft");
  await until("the draft is kept", async () => (await stored(page)).includes("a draft"));
  await page.locator("#text").fill("/operator nonsense");
  await until("the password has replaced it", async () => !(await stored(page)).includes("a draft"));
  assert.ok(!(await stored(page)).includes("nonsense"));
  await page.locator("#text").press("Enter");
  await tells(page, "That is not the password of an operator.");
  await say(page, "/remove Bob");
  await tells(page, "Only an operator can do that");
  for (const slip of ["  //operator sesame", "/OPERATOR sesame", "\u200b /operator\tsesame"]) {
    await say(page, slip);
    await tells(page, "You are an operator now");
    await page.locator("body.operator").waitFor();
    await say(page, "/operator off");
    await tells(page, "You are no operator now");
  }
  await say(page, "/operator");
  await tells(page, "Write /operator PASSWORD");
  assert.ok(!/sesame|nonsense/.test(await stored(page)));
  await say(page, "/operators are nice", "say /operator sesame");
  await bob.hears("Alice: say /operator sesame");
  assert.equal(bob.lines.filter((line) => line.startsWith("Alice: ")).length, 2);
});

test("an operator mutes, removes and bans from the menu of a name", async (t) => {
  const { daemon, page } = await operated(t, "Alice", { allow: REFUSED });
  const bob = await daemon.telnet(t, "Bob");
  const { page: tina } = await joined(t, daemon, "Tina", { allow: REFUSED });
  const choose = async (name, ...buttons) => {
    await page.locator("#people .person", { hasText: name }).click();
    for (const [button, why] of buttons) {
      if (why !== undefined) await page.locator("#ask-input").fill(why);
      await page.locator("#ask-buttons").getByRole("button", { name: button, exact: true }).click();
    }
  };
  await page.locator("#people .person", { hasText: "Tina" }).waitFor();
  assert.match(await page.locator("#people", { hasText: "Alice" }).innerText(), /operator · you/);
  await choose("Tina", ["Mute"], ["Mute", "too loud"]);
  await tells(page, "Tina may only read now");
  await say(tina, "hello");
  await tina.locator(".failure", { hasText: "You are muted: you may read, and not write: too loud" }).waitFor();
  await page.locator("#people .person", { hasText: "muted" }).waitFor();
  await choose("Tina", ["Unmute"]);
  await tells(page, "Tina may write again");
  await choose("Bob", ["Remove"], ["Cancel"]);
  await choose("Bob", ["Write privately"]);
  await page.locator("#private", { hasText: "Bob" }).waitFor();
  await page.locator("#public").click();
  await choose("Tina", ["Remove"], ["Remove", "1d of spam"]);
  await sees(page, "Tina was removed");
  await tina.locator("#door-why", { hasText: "You were removed: 1d of spam" }).waitFor();
  await tina.locator("#enter-button").click();
  await tina.locator("#door-why", { hasText: "You may not be in this group for 10 minutes more: 1d of spam" }).waitFor();
  await choose("Bob", ["Ban"], ["For an hour", ""]);
  await sees(page, "Bob was removed");
  await tells(page, "Bob is banned, until /unban Bob or the time is over.");
  await say(page, "/unban Bob");
  await tells(page, "Bob is no longer banned.");
  assert.equal(bob.count("Tina has joined"), 1);
});

test("who comes from a banned address is told why", async (t) => {
  const daemon = await Daemon.start(t);
  const { page } = await joined(t, daemon, "Alice", { allow: REFUSED });
  operate(daemon, "ban", "127.0.0.1", "--for", "1h", "--why", "noise");
  await page.locator("#door-why", { hasText: "You were removed: noise" }).waitFor();
  await page.reload();
  assert.match(await page.locator("body").innerText(), /You may not be in this group for .* more: noise/);
});

test("an operator erases a line from its menu, and sets the topic", async (t) => {
  const { daemon, page } = await operated(t, "Alice");
  const bob = await daemon.telnet(t, "Bob");
  bob.send("one", "a secret", "three");
  await sees(page, "Bob: three");
  await say(page, "mine");
  await bob.hears("Alice: mine");
  const row = page.locator("#log li", { hasText: "a secret" });
  await row.locator(".more").click();
  await page.locator("#ask-buttons").getByRole("button", { name: "Cancel" }).click();
  await row.locator(".more").click();
  assert.match(await page.locator("#ask").innerText(), /Erase what Bob wrote: a secret\?/);
  await page.locator("#ask-buttons").getByRole("button", { name: "Erase" }).click();
  await tells(page, "Erased: 1 text.");
  await sees(page, "a line was removed");
  assert.ok(!(await page.locator("#log").innerText()).includes("a secret"));
  await say(page, "/topic Cats and dogs");
  await bob.hears("* The topic is: Cats and dogs");
  await page.locator("#topic", { hasText: "Cats and dogs" }).waitFor();
  await say(page, "/topic");
  await tells(page, "The topic is: Cats and dogs");
  const { page: late } = await joined(t, daemon, "Carol");
  assert.equal(await late.locator("#topic").innerText(), "Cats and dogs");
  assert.equal(await late.locator(".more:visible").count(), 0);
  await say(page, "/topic off");
  await until("the topic is gone", async () => !(await late.locator("#topic").isVisible()));
});

test("a page that was away forgets what was erased meanwhile", async (t) => {
  const daemon = await Daemon.start(t);
  const bob = await daemon.telnet(t, "Bob");
  const { page, context } = await joined(t, daemon, "Alice", { allow: AWAY });
  bob.send("a secret");
  await sees(page, "Bob: a secret");
  await context.setOffline(true);
  await page.locator("#banner").waitFor();
  operate(daemon, "erase", "--member", "Bob");
  await context.setOffline(false);
  await until("the text is gone", async () => !(await page.content()).includes("a secret"));
  await sees(page, "a line was removed");
});

test("the keyboard is enough for an operator", async (t) => {
  const { daemon, page } = await operated(t, "Alice");
  const bob = await daemon.telnet(t, "Bob");
  bob.send("one", "a secret", "three");
  await sees(page, "Bob: three");
  await page.locator("#scroll").focus();
  for (const key of ["Tab", "ArrowUp", "Enter", "Enter"]) await page.keyboard.press(key);
  await tells(page, "Erased: 1 text.");
  assert.deepEqual((await shown(page)).slice(-3), ["Bob: one", "a line was removed", "Bob: three"]);
  await until("the focus is back", async () => page.evaluate(() => document.activeElement.id === "text"));
  await page.locator("#people button.person", { hasText: "Bob" }).focus();
  for (const key of ["Enter", "Tab", "Tab", "Enter"]) await page.keyboard.press(key);
  await page.locator("#ask-title", { hasText: "Remove Bob?" }).waitFor();
  await page.keyboard.type("spam");
  await page.keyboard.press("Enter");
  await sees(page, "Bob was removed");
});

test("an operator can work at 320 px, and axe finds nothing", async (t) => {
  const { daemon, page, context } = await operated(t, "Alice", { viewport: { width: 320, height: 568 }, hasTouch: true });
  await context.addInitScript({ path: axe });
  await page.reload();
  await page.locator("body.operator").waitFor();
  const bob = await daemon.telnet(t, "W".repeat(32));
  bob.send("W".repeat(500), "short");
  await say(page, "W".repeat(500), `/topic ${"Topic ".repeat(60)}`);
  await page.locator("#topic", { hasText: "Topic" }).waitFor();
  await sees(page, `${"W".repeat(32)}: short`);
  const fits = () => {
    const seen = [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility() && !one.closest(".sr, .skip, svg"));
    return seen.filter((one) => one.getBoundingClientRect().right > innerWidth + 1 || one.getBoundingClientRect().left < -1).map((one) => one.outerHTML.slice(0, 90));
  };
  assert.deepEqual(await page.evaluate(fits), []);
  const check = async () => {
    const { violations } = await page.evaluate(() => window.axe.run());
    assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), []);
  };
  await check();
  await page.locator(".who").first().click();
  await page.locator("#ask").waitFor();
  assert.deepEqual(await page.evaluate(fits), []);
  await check();
  await page.getByRole("button", { name: "Ban", exact: true }).click();
  await page.locator("#ask-title", { hasText: "Ban W" }).waitFor();
  assert.deepEqual(await page.evaluate(fits), []);
  await page.keyboard.press("Escape");
});
