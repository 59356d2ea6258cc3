// The server stops and starts again, and nothing is lost or doubled in either direction.

import assert from "node:assert/strict";
import { copyFile } from "node:fs/promises";
import { after, test } from "node:test";
import { AWAY, closeBrowser, Daemon, enter, joined, person, say, sees, shown, until } from "./harness.mjs";

after(closeBrowser);

test("texts written while the server is down are sent later", async (t) => {
  const daemon = await Daemon.start(t);
  const { page: alice } = await joined(t, daemon, "Alice", { allow: AWAY });
  const { page: bob } = await joined(t, daemon, "Bob", { allow: AWAY });
  await say(alice, "before");
  await sees(bob, "Alice: before");
  await daemon.end();
  await alice.locator("#banner").waitFor();
  await say(alice, "first", "second");
  await until("two texts wait", async () => (await alice.locator("#waiting li").count()) === 2);
  await alice.reload().catch(() => {}); // it fails: the server is down
  await daemon.start();
  await alice.goto(daemon.url);
  for (const text of ["first", "second"]) {
    await sees(bob, `Alice: ${text}`);
    await sees(alice, `You: ${text}`);
  }
  await until("the banner goes", async () => !(await alice.locator("#banner").isVisible()));
  assert.equal(await alice.locator("#waiting li").count(), 0);
});

test("killing the daemon during a conversation loses and doubles nothing", async (t) => {
  const daemon = await Daemon.start(t, "--rate", "0");
  const { page: alice } = await joined(t, daemon, "Alice", { allow: AWAY });
  const { page: bob } = await joined(t, daemon, "Bob", { allow: AWAY });
  const said = { Alice: [], Bob: [] };
  const talk = async (page, name) => {
    for (let number = 0; number < 40; number++) {
      said[name].push(`${name} ${number}.`);
      await say(page, `${name} ${number}.`);
      await page.waitForTimeout(40 + 80 * Math.random());
    }
  };
  const kill = async () => {
    for (let kills = 0; kills < 4; kills++) {
      await alice.waitForTimeout(300 + 500 * Math.random());
      await daemon.end();
      await daemon.start();
    }
  };
  await Promise.all([talk(alice, "Alice"), talk(bob, "Bob"), kill()]);
  for (const [page, name, other] of [[alice, "Alice", "Bob"], [bob, "Bob", "Alice"]]) {
    const last = `You: ${said[name].at(-1)}`;
    await until("all texts arrived", async () => {
      const lines = await shown(page);
      return lines.includes(last) && lines.includes(`${other}: ${said[other].at(-1)}`);
    });
    await until("no text waits", async () => (await page.locator("#waiting li").count()) === 0);
    const lines = (await shown(page)).filter((line) => line.includes(": "));
    const from = (who) => lines.filter((line) => line.startsWith(`${who}: `)).map((line) => line.split(": ")[1]);
    assert.deepEqual(from("You"), said[name]);
    assert.deepEqual(from(other), said[other]);
  }
});

test("a text whose answer is lost is said once", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page } = await joined(t, daemon, "Alice", { allow: AWAY });
  const bob = await daemon.telnet(t, "Bob");
  let lost = 0;
  await page.route("**/messages", async (route) => {
    if (lost >= 3) return route.continue();
    lost++;
    await route.fetch(); // the server says the text, and the page does not learn that
    return route.abort("connectionreset");
  });
  await say(page, "once");
  await say(page, "and then");
  await bob.hears("Alice: and then");
  await sees(page, "You: and then");
  await until("no text waits", async () => (await page.locator("#waiting li").count()) === 0);
  assert.equal(lost, 3);
  assert.equal(bob.count("Alice: once"), 1);
  await sees(page, "You: once");
});

test("a join whose answer is lost is repeated", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const bob = await daemon.telnet(t, "Bob");
  const { page, context } = await person(t, { allow: AWAY });
  let lost = 0;
  await page.route("**/name", async (route) => {
    if (lost >= 2) return route.continue();
    lost++;
    await route.fetch();
    await context.clearCookies(); // the cookie is in the answer that is lost
    return route.abort("connectionreset");
  });
  await page.goto(daemon.url);
  const why = page.locator("#door-why");
  for (let tries = 1; tries < 3; tries++) {
    await page.locator("#entry").fill("Alice");
    await page.keyboard.press("Enter");
    await until("the page says why", async () => lost === tries && (await why.textContent()).includes("cannot be reached"));
    if (tries === 1) await page.reload(); // the id outlives it
  }
  await enter(page, "Alice");
  await say(page, "hello");
  await bob.hears("Alice: hello");
  assert.equal(bob.count("Alice has joined"), 1);
});

test("two tabs that lost their seat share the new one", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const options = { allow: /net::ERR_|status of 403/ };
  const { page, context } = await joined(t, daemon, "Alice", options);
  const other = await context.newPage();
  await other.goto(daemon.url);
  await other.locator("#chat").waitFor();
  for (let rounds = 0; rounds < 3; rounds++) {
    await daemon.end();
    for (const tab of [page, other]) await tab.locator("#banner").waitFor();
    await daemon.start(); // a new group, in which nobody is
    const bob = await daemon.telnet(t, "Bob");
    await Promise.all([page, other].map((tab) => tab.locator("#now").click({ timeout: 1000 }).catch(() => {})));
    for (const tab of [page, other]) await until("the tab is connected", async () => !(await tab.locator("#banner").isVisible()));
    await say(page, `from one ${rounds}`);
    await say(other, `from the other ${rounds}`);
    for (const text of [`from one ${rounds}`, `from the other ${rounds}`]) {
      await bob.hears(`Alice: ${text}`);
      await sees(page, `You: ${text}`);
      await sees(other, `You: ${text}`);
    }
    assert.ok(bob.count("Alice has joined") <= 1);
  }
});

test("after its seat was lost the page joins again, and loses and doubles nothing", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:", "--hold", "1");
  const { page, context } = await joined(t, daemon, "Alice", { allow: /net::ERR_|status of 403/ });
  const bob = await daemon.telnet(t, "Bob");
  await say(page, "here");
  await sees(page, "You: here");
  await page.route("**/messages", async (route) => {
    await route.fetch();
    await context.setOffline(true);
    await route.abort("connectionreset");
  });
  await say(page, "just as the line broke");
  await bob.hears("Alice: just as the line broke");
  await bob.hears("Alice has left the group");
  await page.unroute("**/messages");
  await say(page, "written meanwhile");
  bob.send("said meanwhile");
  await context.setOffline(false);
  await bob.hears("Alice has joined");
  await bob.hears("Alice: written meanwhile");
  await sees(page, "Bob: said meanwhile");
  await sees(page, "You: just as the line broke");
  await sees(page, "You: written meanwhile");
  await until("no text waits", async () => (await page.locator("#waiting li").count()) === 0);
  assert.equal(bob.count("Alice: just as the line broke"), 1);
  await sees(page, "You: here");
});

test("texts are sent although the browser can store nothing", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page } = await joined(t, daemon, "Alice");
  const bob = await daemon.telnet(t, "Bob");
  await page.evaluate(() => {
    IDBDatabase.prototype.transaction = () => {
      throw new DOMException("The database connection is closing.", "InvalidStateError");
    };
  });
  for (const text of ["one", "two"]) {
    await page.fill("#text", text);
    await page.press("#text", "Enter");
    await bob.hears(`Alice: ${text}`);
  }
});

test("a restored backup keeps no new text from an open page", async (t) => {
  const daemon = await Daemon.start(t);
  const { page } = await joined(t, daemon, "Alice", { allow: AWAY });
  await say(page, "kept");
  await sees(page, "You: kept");
  await daemon.end("SIGTERM");
  const file = `${daemon.directory}/groupchat.sqlite`;
  await copyFile(file, `${file}.backup`);
  await daemon.start();
  const bob = await daemon.telnet(t, "Bob");
  for (const text of ["lost 1", "lost 2", "lost 3"]) bob.send(text);
  await sees(page, "Bob: lost 3");
  await daemon.end("SIGTERM");
  await copyFile(`${file}.backup`, file);
  await daemon.start();
  const eve = await daemon.telnet(t, "Eve");
  eve.send("new 1", "new 2");
  await sees(page, "Bob: lost 3"); // what it was shown stays
  await sees(page, "Eve: new 2");
  const lines = await shown(page);
  for (const text of ["Eve: new 1", "Eve: new 2"]) assert.equal(lines.filter((line) => line === text).length, 1, `${lines}`);
  assert.ok(!lines.some((line) => /no longer kept|began anew/.test(line)), `${lines}`);
});

test("a page says that the server began anew", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page } = await joined(t, daemon, "Alice", { allow: AWAY });
  await say(page, "one", "two", "three");
  await sees(page, "You: three");
  await daemon.end();
  await daemon.start();
  await page.getByText("The server began anew: messages may be missing").waitFor();
  const bob = await daemon.telnet(t, "Bob");
  bob.send("hello");
  await sees(page, "Bob: hello");
});
