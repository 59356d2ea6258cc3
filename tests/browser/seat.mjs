// The seat of a browser with TLS and without, and times that pass midnight.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { closeBrowser, Daemon, enter, hide, joined, person, say, sees, until } from "./harness.mjs";

after(closeBrowser);

const CERTIFICATE = "import sys; from pathlib import Path; from tests.certificates import make_certificate; make_certificate(Path(sys.argv[1]))";

test("with TLS first and without it afterwards, a browser has two seats", async (t) => {
  const files = await Daemon.start(t, "--db", ":memory:");
  const cwd = fileURLToPath(new URL("../..", import.meta.url));
  execFileSync(process.env.PYTHON, ["-c", CERTIFICATE, files.directory], { cwd });
  const [key, cert] = ["key", "cert"].map((name) => `${files.directory}/${name}.pem`);
  const daemon = await Daemon.start(t, "--db", ":memory:", "--web", `ssl:0:interface=127.0.0.1:privateKey=${key}:certKey=${cert}`);
  const secure = `https://127.0.0.1:${/https:\/\/127\.0\.0\.1:(\d+)/.exec(daemon.output)[1]}/`;
  const { page, context } = await person(t, { ignoreHTTPSErrors: true });
  // What an earlier version has set over TLS, under the name that it used without TLS as well.
  await context.addCookies([{ name: "groupchat", value: "ee".repeat(16), url: secure, secure: true }]);
  for (const [address, name] of [[secure, "Alice"], [daemon.url, "Alicia"]]) {
    await page.goto(address);
    await enter(page, name);
    await say(page, `from ${name}`);
    await sees(page, `You: from ${name}`);
    assert.ok(await page.locator("#unkept").isHidden());
  }
  for (const [address, name] of [[secure, "Alice"], [daemon.url, "Alicia"]]) {
    await page.goto(address);
    await page.locator("#chat").waitFor();
    assert.equal(await page.locator("#self").textContent(), name);
  }
  await until("both seats are listed", async () => (await page.locator("#people .person").count()) === 2);
});

test("a seat whose cookie is refused is kept while the page is open", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const bob = await daemon.telnet(t, "Bob");
  const { page, context } = await person(t);
  await context.route("**/name", async (route) => {
    const answer = await route.fetch();
    const headers = { ...answer.headers() };
    delete headers["set-cookie"];
    await context.clearCookies();
    await route.fulfill({ response: answer, headers });
    await context.clearCookies();
  });
  await page.goto(daemon.url);
  await enter(page, "Alice");
  assert.match(await page.locator("#unkept").textContent(), /your seat/);
  await page.locator("#unkept-close").click();
  await say(page, "one", "two");
  await bob.hears("Alice: two");
  await sees(page, "You: two");
  assert.equal(bob.count("Alice has joined"), 1);
  assert.ok(await page.locator("#unkept").isHidden());
});

test("an absent member is away since it went", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:", "--hold", "1000000");
  const { page } = await person(t);
  await page.clock.install();
  await page.goto(daemon.url);
  await enter(page, "Alice");
  const { context } = await joined(t, daemon, "Bob");
  await until("Bob is here", async () => /Bob/.test(await page.locator("#people").textContent()));
  await context.close();
  const words = () => page.locator("#people").textContent();
  await until("Bob is away", async () => /away since \d\d:\d\d/.test(await words()));
  await page.clock.fastForward("24:00:00");
  await until("that was yesterday", async () => /away since yesterday, \d\d:\d\d/.test(await words()));
  await page.clock.fastForward("48:00:00");
  await until("the day is named", async () => /away since [A-Z]\w+day, \w+ \w+, \d\d:\d\d/.test(await words()));
});

test("after midnight today is yesterday", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page } = await person(t);
  await page.clock.install();
  await page.goto(daemon.url);
  await enter(page, "Alice");
  await say(page, "good night");
  await sees(page, "You: good night");
  const days = () => page.locator(".day").allTextContents();
  assert.deepEqual(await days(), ["Today"]);
  await page.clock.fastForward("24:00:00");
  await until("the day is named anew", async () => (await days()).join() === "Yesterday");
  await hide(page, true);
  await page.clock.setFixedTime(Date.now() + 48 * 3_600_000);
  await hide(page, false);
  await until("the day has a name", async () => /^[A-Z]\w+day/.test((await days()).join()));
});
