// The browser denies storage, or its storage is full, odd or cleared: the page works, and says what it cannot keep.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AWAY, browserWithoutStorage, closeBrowser, Daemon, enter, joined, person, REFUSED, say, sees, until } from "./harness.mjs";

after(closeBrowser);

const LOCAL = {
  throws: () => Object.defineProperty(window, "localStorage", { get: () => { throw new DOMException("denied", "SecurityError"); } }),
  missing: () => Object.defineProperty(window, "localStorage", { value: null }),
  full: () => (Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); }),
  odd: () => ["mine", "draft", "join", "last", "name", "out.1", "out.2"].forEach((key, index) => localStorage.setItem(`groupchat.${key}`, ["5", "{}", "[]", '"x"', "7", "null", '{"id":'][index])),
};
const DATABASE = {
  throws: () => (IDBFactory.prototype.open = () => { throw new DOMException("denied", "SecurityError"); }),
  missing: () => Object.defineProperty(window, "indexedDB", { value: null }),
  fails: () => (IDBFactory.prototype.open = () => { const asking = {}; setTimeout(() => asking.onerror(new Event("error"))); return asking; }),
  "never answers": () => (IDBFactory.prototype.open = () => ({})),
};

const unkept = (page) => page.locator("#unkept").evaluate((one) => (one.hidden ? "" : one.textContent));

/** Say texts, which are shown as waiting at once, and reach others once. */
async function works(page, bob, ...texts) {
  for (const text of texts) {
    await page.locator("#text").fill(text);
    const shown = await page.evaluate(() => {
      document.getElementById("say").requestSubmit();
      return [...document.querySelectorAll("#waiting .text")].map((one) => one.textContent);
    });
    assert.ok(shown.includes(text), `${text} is not shown, but ${shown}`);
    assert.equal(await page.locator("#text").inputValue(), "");
    await bob.hears(`Alice: ${text}`);
    await sees(page, `You: ${text}`);
  }
  await until("no text waits", async () => (await page.locator("#waiting li").count()) === 0);
  for (const text of texts) assert.equal(bob.count(`Alice: ${text}`), 1);
}

for (const [what, init] of Object.entries(LOCAL))
  test(`localStorage: ${what}`, async (t) => {
    const daemon = await Daemon.start(t, "--db", ":memory:");
    const bob = await daemon.telnet(t, "Bob");
    const { page, context } = await person(t);
    await context.addInitScript(init);
    await page.goto(daemon.url);
    await enter(page, "Alice");
    assert.equal(/drafts, messages that wait/.test(await unkept(page)), what !== "odd");
    assert.ok(!(await unkept(page)).includes("seat"));
    await works(page, bob, "one", "two");
    await page.reload(); // the cookie keeps the seat
    await sees(page, "You: two");
    if (what !== "odd") await page.locator("#unkept-close").click();
    assert.equal(await unkept(page), "");
  });

for (const [what, init] of Object.entries(DATABASE))
  for (const local of ["", "throws"])
    test(`indexedDB: ${what}${local && ", localStorage throws"}`, async (t) => {
      const daemon = await Daemon.start(t, "--db", ":memory:");
      const bob = await daemon.telnet(t, "Bob");
      const { page, context } = await person(t);
      await context.addInitScript(init);
      if (local) await context.addInitScript(LOCAL[local]);
      await page.goto(daemon.url);
      await enter(page, "Alice");
      assert.equal(Boolean(await unkept(page)), Boolean(local));
      await works(page, bob, "one", "two");
      const { page: tab } = await person(t, { keep: context });
      await tab.goto(daemon.url);
      await sees(tab, "You: two");
      await works(tab, bob, "three");
    });

test("two tabs without storage never give two texts one id", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page, context } = await person(t);
  await context.addInitScript(LOCAL.throws);
  await context.addInitScript(DATABASE.throws);
  await page.goto(daemon.url);
  await enter(page, "Alice");
  const { page: tab } = await person(t, { keep: context });
  await tab.goto(daemon.url);
  await tab.locator("#chat").waitFor();
  const bob = await daemon.telnet(t, "Bob");
  for (const text of ["one", "two", "three", "four"]) {
    for (const [one, name] of [[page, "page"], [tab, "tab"]]) {
      await say(one, `${text} from the ${name}`);
      await bob.hears(`Alice: ${text} from the ${name}`);
    }
  }
});

for (const where of ["url", "lan"])
  test(`a browser that denies all data: ${where}`, async (t) => {
    const daemon = await Daemon.start(t, "--db", ":memory:", "--files", "files");
    const bob = await daemon.telnet(t, "Bob");
    const { page } = await person(t, { keep: await browserWithoutStorage(t) });
    await page.goto(daemon[where]);
    await enter(page, "Alice");
    assert.match(await unkept(page), /your seat, drafts, messages that wait/);
    await works(page, bob, "one", "two");
    assert.equal(await page.locator("#people .person").count(), 2);
    await page.locator("#file").setInputFiles([{ name: "mine.txt", mimeType: "text/plain", buffer: Buffer.from("x") }]);
    await sees(page, "You: mine.txt");
    await page.reload();
    await bob.hears("Alice has left the group");
    await enter(page, "Alice");
    await works(page, bob, "three");
    assert.equal(bob.count("Alice has joined"), 2);
  });

test("a password whose cookie is not kept is explained", async (t) => {
  const secrets = await Daemon.start(t, "--db", ":memory:");
  const file = await secrets.file("password", "open sesame\n");
  const daemon = await Daemon.start(t, "--db", ":memory:", "--password-file", file);
  const { page } = await person(t, { allow: REFUSED, keep: await browserWithoutStorage(t) });
  await page.goto(daemon.url);
  await page.locator("#entry").fill("open sesame");
  await page.keyboard.press("Enter");
  await until("the page says why", async () => /does not keep the cookie/.test(await page.locator("#door-why").textContent()));
});

test("texts that wait outlive the storage", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page, context } = await joined(t, daemon, "Alice", { allow: AWAY });
  const bob = await daemon.telnet(t, "Bob");
  const { page: tab } = await person(t, { keep: context, allow: AWAY });
  await tab.goto(daemon.url);
  await tab.locator("#chat").waitFor();
  await context.route("**/messages", (route) => route.abort("connectionreset"));
  await say(page, "waiting");
  await page.locator("#waiting .own").waitFor();
  await tab.locator("#waiting .own").waitFor();
  await tab.evaluate(() => localStorage.clear());
  await context.unroute("**/messages");
  await bob.hears("Alice: waiting");
  await sees(page, "You: waiting");
  assert.equal(bob.count("Alice: waiting"), 1);
});

test("ids go on after those that the server has seen", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const bob = await daemon.telnet(t, "Bob");
  const { page, context } = await joined(t, daemon, "Alice");
  const me = async () => {
    const [{ name, value }] = await context.cookies();
    return (await daemon.request("me", { headers: { Cookie: `${name}=${value}` } })).json();
  };
  await say(page, "one");
  await bob.hears("Alice: one");
  assert.equal((await me()).last_id, 1);
  const ahead = Date.now() + 10 ** 10; // the ids of earlier versions began with the time of a clock
  await page.evaluate(
    async ([id, as]) => {
      await fetch("messages", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ text: "ahead", id: String(id), as }) });
      localStorage.clear();
      indexedDB.deleteDatabase("groupchat");
    },
    [ahead, (await me()).id],
  );
  await page.reload();
  await say(page, "two", "three");
  for (const text of ["ahead", "two", "three"]) await bob.hears(`Alice: ${text}`);
  assert.equal((await me()).last_id, ahead + 2);
  assert.equal(await page.locator(".failure").count(), 0);
});
