// People talk with browsers, telnet and datagrams: to all, to one, and under names that change.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { closeBrowser, Daemon, enter, hide, joined, person, REFUSED, say, sees, shown, until } from "./harness.mjs";

after(closeBrowser);

test("two pages, a telnet and a UDP member converse", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page: alice } = await joined(t, daemon, "Alice");
  const { page: bob } = await joined(t, daemon, "Bob");
  const carol = await daemon.telnet(t, "Carol");
  const dave = await daemon.udp(t, "Dave");
  await say(alice, "hello from Alice");
  await say(bob, "hello from Bob");
  carol.send("hello from Carol");
  await carol.hears("Bob: hello from Bob");
  const heard = (await dave.ask("2 hello from Dave")).split("\n").sort();
  assert.deepEqual(heard, ["Alice", "Bob", "Carol"].map((name) => `${name}: hello from ${name}`));
  await carol.hears("Dave: hello from Dave");
  for (const [page, name] of [[alice, "Alice"], [bob, "Bob"]])
    for (const who of ["Alice", "Bob", "Carol", "Dave"])
      await sees(page, `${who === name ? "You" : who}: hello from ${who}`);
  const order = async (page) => (await shown(page)).slice(-4).map((line) => line.split("from ")[1]);
  assert.deepEqual(await order(alice), await order(bob));
  assert.equal(await alice.locator("#waiting li").count(), 0);
});

test("a reload keeps the seat, the conversation and the draft", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page } = await joined(t, daemon, "Alice");
  const bob = await daemon.telnet(t, "Bob");
  await say(page, "before");
  await sees(page, "You: before");
  bob.send("while Alice is here");
  await sees(page, "Bob: while Alice is here");
  await page.locator("#text").fill("a draft");
  await page.reload();
  await sees(page, "You: before");
  await sees(page, "Bob: while Alice is here");
  assert.equal(await page.locator("#text").inputValue(), "a draft");
  await page.locator("#text").press("Enter");
  await bob.hears("Alice: a draft");
  assert.equal(bob.lines.filter((line) => /Alice has left/.test(line)).length, 0);
});

test("two tabs of one person each see every line", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page: one, context } = await joined(t, daemon, "Alice");
  const { page: other } = await person(t, { keep: context });
  await other.goto(daemon.url);
  await other.locator("#chat").waitFor();
  const bob = await daemon.telnet(t, "Bob");
  const texts = (which) => [1, 2, 3, 4, 5].map((number) => `${which} ${number}`);
  await Promise.all([say(one, ...texts("one")), say(other, ...texts("other"))]);
  bob.send("to both");
  for (const page of [one, other]) {
    await sees(page, "Bob: to both");
    for (const text of [...texts("one"), ...texts("other")]) await sees(page, `You: ${text}`);
    await until("no text waits", async () => (await page.locator("#waiting li").count()) === 0);
  }
  for (const text of [...texts("one"), ...texts("other")]) assert.equal(bob.count(`Alice: ${text}`), 1);
});

test("only its recipient sees a private message", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page: alice } = await joined(t, daemon, "Alice", { allow: REFUSED });
  const { page: bob } = await joined(t, daemon, "Bob");
  const carol = await daemon.telnet(t, "Carol");
  await until("Bob is in the list", () => alice.locator("#people .person", { hasText: "Bob" }).isVisible());
  await alice.locator("#people .person", { hasText: "Bob" }).click();
  assert.ok(await alice.locator("#private").isVisible());
  await say(alice, "psst");
  await sees(bob, "Alice (private): psst");
  await sees(alice, "You (private): psst");
  assert.match(await alice.locator(".own .bubble .private").textContent(), /Only to Bob/);
  await bob.locator("#log .who", { hasText: "Alice" }).click();
  await say(bob, "yes?");
  await sees(alice, "Bob (private): yes?");
  await alice.locator("#text").press("Escape");
  assert.ok(!(await alice.locator("#private").isVisible()));
  await say(alice, "to all");
  await carol.hears("Alice: to all");
  assert.ok(!carol.lines.some((line) => /psst|yes\?/.test(line)));
  await bob.locator("#leave").click();
  await bob.locator("#ask").getByRole("button", { name: "Leave" }).click();
  await bob.locator("#door").waitFor();
  await alice.locator("#log .who", { hasText: "Bob" }).click();
  await say(alice, "still there?");
  await alice.locator(".failure").waitFor();
  await alice.locator(".failure").getByRole("button", { name: "Delete" }).click();
  assert.equal(await alice.locator("#waiting li").count(), 0);
});

test("a name changes, somebody leaves and comes back", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page, context } = await joined(t, daemon, "Alice", { allow: REFUSED });
  const bob = await daemon.telnet(t, "Bob");
  const ask = page.locator("#ask");
  await page.locator("#rename").click();
  await ask.locator("input").fill("Bob");
  await page.keyboard.press("Enter");
  await until("the name is refused", async () => (await ask.locator("[role=alert]").textContent()) !== "");
  await ask.locator("input").fill("Alicia");
  await page.keyboard.press("Enter");
  await bob.hears("Alice changed his name to Alicia");
  await until("the page shows the new name", async () => (await page.locator("#self").textContent()) === "Alicia");
  await sees(page, "Alice is now Alicia");
  const { page: tab } = await person(t, { keep: context, allow: REFUSED });
  await tab.goto(daemon.url);
  await tab.locator("#chat").waitFor();
  await page.locator("#leave").click();
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("#chat").isVisible());
  await page.locator("#leave").click();
  await ask.getByRole("button", { name: "Leave" }).click();
  for (const one of [page, tab]) await one.locator("#door").waitFor();
  await bob.hears("Alicia has left the group");
  assert.equal(await page.locator("#entry").inputValue(), "Alicia");
  await page.reload();
  await page.locator("#door").waitFor();
  await enter(page, "Alicia");
  await bob.hears("Alicia has joined");
  bob.send("welcome back");
  await sees(page, "Bob: welcome back");
  assert.equal(bob.count("Alicia has joined"), 1);
});

test("the page asks for the password first", async (t) => {
  const secrets = await Daemon.start(t, "--db", ":memory:");
  const file = await secrets.file("password", "open sesame\n");
  const daemon = await Daemon.start(t, "--db", ":memory:", "--password-file", file, "--group", "the cave");
  const { page } = await person(t, { allow: REFUSED });
  await page.goto(daemon.url);
  const entry = page.locator("#entry");
  await entry.waitFor();
  assert.equal(await entry.getAttribute("type"), "password");
  assert.ok(!(await page.content()).includes("the cave"));
  await entry.fill("open barley");
  await page.keyboard.press("Enter");
  await until("the name is refused", async () => (await page.locator("#door-why").textContent()) !== "");
  await until("it is let in", async () => {
    await entry.fill("open sesame");
    await page.keyboard.press("Enter");
    await page.waitForTimeout(300);
    return (await entry.getAttribute("type")) === "text";
  });
  await enter(page, "Alice");
  assert.equal(await page.locator("#group").textContent(), "the cave");
  await say(page, "in here");
  await sees(page, "You: in here");
  await page.reload();
  await sees(page, "You: in here");
});

test("a name in use is refused with a reason", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  await daemon.telnet(t, "Alice");
  const { page } = await person(t, { allow: REFUSED });
  await page.goto(daemon.url);
  await page.locator("#entry").fill("alice");
  await page.keyboard.press("Enter");
  await until("the name is refused", async () => (await page.locator("#door-why").textContent()) !== "");
  await enter(page, "Alice B");
});

test("the title counts messages while the page is hidden", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page } = await joined(t, daemon, "Alice");
  const bob = await daemon.telnet(t, "Bob");
  await hide(page, true);
  bob.send("one", "two");
  await until("the title counts them", async () => (await page.title()) === "(2) lobby");
  assert.equal(await page.locator("#log .new").count(), 1);
  await hide(page, false);
  assert.equal(await page.title(), "lobby");
  assert.equal(await page.locator("#spoken p", { hasText: "Bob: two" }).count(), 1);
});
