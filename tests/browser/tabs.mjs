// Many tabs of one person share one stream: with Web Locks where the context is secure, and by claims without TLS.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AWAY, closeBrowser, Daemon, enter, hide, person, say, sees, shown, until } from "./harness.mjs";

after(closeBrowser);

const CLAIMS = "lan";
const MANY = 8; // more than the connections that a browser opens to one host

/** A person with tabs, all of them but the last hidden. `leaders()` returns the tabs that have a stream of events. */
async function tabsOf(t, daemon, where, count, name = "Alice") {
  const { page, context } = await person(t, { allow: AWAY });
  const streams = new Map();
  context.on("request", (request) => request.url().includes("/events?") && streams.set(request, request.frame().page()));
  for (const over of ["requestfinished", "requestfailed"]) context.on(over, (request) => streams.delete(request));
  const tabs = [page];
  await page.goto(daemon[where]);
  await enter(page, name);
  while (tabs.length < count) {
    await hide(tabs.at(-1), true);
    tabs.push(await context.newPage());
    await tabs.at(-1).goto(daemon[where]);
    await tabs.at(-1).locator("#chat").waitFor();
  }
  const leaders = () => [...new Set(streams.values())].filter((tab) => !tab.isClosed());
  const leads = (tab) => until("one tab has the stream", () => leaders().length === 1 && leaders()[0] === tab);
  return { tabs, context, leaders, leads };
}

for (const where of ["url", CLAIMS]) {
  test(`${MANY} tabs share one stream: ${where}`, async (t) => {
    const daemon = await Daemon.start(t, "--db", ":memory:", "--rate", "0");
    const bob = await daemon.telnet(t, "Bob");
    const { tabs, leads, leaders } = await tabsOf(t, daemon, where, MANY);
    await leads(tabs.at(-1));
    for (const [index, tab] of tabs.entries()) {
      bob.send(`for tab ${index}`);
      await say(tab, `from tab ${index}`);
      await bob.hears(`Alice: from tab ${index}`);
    }
    for (const tab of tabs)
      for (const index of tabs.keys()) {
        await sees(tab, `Bob: for tab ${index}`);
        await sees(tab, `You: from tab ${index}`);
      }
    for (const tab of tabs) await until("no text waits", async () => (await tab.locator("#waiting li").count()) === 0);
    for (const index of tabs.keys()) assert.equal(bob.count(`Alice: from tab ${index}`), 1);
    assert.equal(leaders().length, 1);
  });

  test(`the visible tab takes the stream, and no line is lost: ${where}`, async (t) => {
    const daemon = await Daemon.start(t, "--db", ":memory:", "--rate", "0");
    const bob = await daemon.telnet(t, "Bob");
    const { tabs, leads } = await tabsOf(t, daemon, where, 3);
    let said = 0;
    const talk = () => bob.send(`line ${++said}.`, `line ${++said}.`);
    for (const [from, to] of [[2, 0], [0, 1], [1, 2], [2, 1]]) {
      talk();
      await hide(tabs[from], true);
      talk();
      await hide(tabs[to], false);
      talk();
      await leads(tabs[to]);
    }
    for (const tab of tabs) {
      await sees(tab, `Bob: line ${said}.`);
      const lines = (await shown(tab)).filter((line) => line.startsWith("Bob: line"));
      assert.deepEqual(lines, Array.from({ length: said }, (_, index) => `Bob: line ${index + 1}.`));
      assert.ok(!(await tab.locator("#banner").isVisible()));
    }
  });

  test(`the stream goes on when its tab is closed or hangs: ${where}`, async (t) => {
    const daemon = await Daemon.start(t, "--db", ":memory:");
    const bob = await daemon.telnet(t, "Bob");
    const { tabs, context, leads, leaders } = await tabsOf(t, daemon, where, 4);
    await tabs[3].close();
    await until("another tab has the stream", () => leaders().length === 1);
    bob.send("after a tab was closed");
    for (const tab of tabs.slice(0, 3)) await sees(tab, "Bob: after a tab was closed");
    await hide(tabs[2], false);
    await leads(tabs[2]);
    const debug = await context.newCDPSession(tabs[2]);
    await debug.send("Debugger.enable");
    await debug.send("Debugger.pause");
    await until("another tab has the stream", () => leaders().some((tab) => tab !== tabs[2]));
    bob.send("after a tab hung");
    for (const tab of tabs.slice(0, 2)) await sees(tab, "Bob: after a tab hung");
    await debug.send("Debugger.disable");
    await sees(tabs[2], "Bob: after a tab hung");
    await until("one tab has the stream", () => leaders().length === 1);
    await say(tabs[2], "here again");
    for (const tab of tabs.slice(0, 3)) await sees(tab, "You: here again");
  });

  test(`tabs share what became of the server and the seat: ${where}`, async (t) => {
    const daemon = await Daemon.start(t, "--db", ":memory:");
    const { tabs, leaders } = await tabsOf(t, daemon, where, 3);
    await until("one tab has the stream", () => leaders().length === 1);
    await daemon.end();
    for (const tab of tabs) await tab.locator("#banner").waitFor();
    await say(tabs[0], "written meanwhile");
    await daemon.start(); // a new group, in which nobody is
    const bob = await daemon.telnet(t, "Bob");
    await tabs[0].locator("#now").click({ timeout: 1000 }).catch(() => {});
    for (const tab of tabs) await sees(tab, "You: written meanwhile");
    for (const tab of tabs) await until("the banner goes", async () => !(await tab.locator("#banner").isVisible()));
    assert.equal(bob.count("Alice: written meanwhile"), 1);
    assert.ok(bob.count("Alice has joined") <= 1);
    await tabs[1].locator("#leave").click();
    await tabs[1].locator("#ask").getByRole("button", { name: "Leave" }).click();
    for (const tab of tabs) await tab.locator("#door").waitFor();
    await bob.hears("Alice has left the group");
    await enter(tabs[1], "Alice");
    await say(tabs[1], "back");
    await bob.hears("Alice: back");
  });

  test(`a request that waits for a connection says so: ${where}`, async (t) => {
    const daemon = await Daemon.start(t, "--db", ":memory:");
    const bob = await daemon.telnet(t, "Bob");
    const { tabs } = await tabsOf(t, daemon, where, 1);
    const [page] = tabs;
    await page.evaluate(async () => {
      window.taken = new AbortController();
      await Promise.all([1, 2, 3, 4, 5].map(() => fetch("events", { signal: window.taken.signal })));
    });
    await say(page, "hello");
    await until("the page says so", async () => /not answered/.test(await page.locator("#banner").textContent()));
    assert.ok(await page.locator("#banner").isVisible());
    assert.equal(await page.locator("#waiting .own").count(), 1);
    await page.evaluate(() => window.taken.abort());
    await bob.hears("Alice: hello");
    await until("the banner goes", async () => !(await page.locator("#banner").isVisible()));
    await sees(page, "You: hello");
  });
}

test("without BroadcastChannel each tab has a stream of its own", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const bob = await daemon.telnet(t, "Bob");
  const { page, context } = await person(t);
  await context.addInitScript(() => delete window.BroadcastChannel);
  await page.goto(daemon.url);
  await enter(page, "Alice");
  const { page: tab } = await person(t, { keep: context });
  await tab.goto(daemon.url);
  await tab.locator("#chat").waitFor();
  bob.send("hello");
  for (const one of [page, tab]) await sees(one, "Bob: hello");
  await say(tab, "from the other");
  await sees(page, "You: from the other");
});

test("where locks are denied, tabs share by claims", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const bob = await daemon.telnet(t, "Bob");
  const { page, context } = await person(t);
  await context.addInitScript(() => window.LockManager && (LockManager.prototype.request = () => Promise.reject(new DOMException("denied", "SecurityError"))));
  await page.goto(daemon.url);
  await enter(page, "Alice");
  await say(page, "from one");
  await bob.hears("Alice: from one");
  const { page: tab } = await person(t, { keep: context });
  await tab.goto(daemon.url);
  await say(tab, "from the other");
  bob.send("hello");
  for (const one of [page, tab]) for (const line of ["You: from one", "You: from the other", "Bob: hello"]) await sees(one, line);
});
