// Accessibility: small screens, right-to-left text, the keyboard alone, and the checks of axe.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, test } from "node:test";
import { closeBrowser, Daemon, enter, joined, person, say, sees, until } from "./harness.mjs";

after(closeBrowser);

const axe = createRequire(import.meta.url).resolve("axe-core");

test("everything fits a small screen", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:", "--files", "files", "--group", "W".repeat(60));
  const { page } = await joined(t, daemon, "ولد".repeat(10), { viewport: { width: 320, height: 568 }, hasTouch: true });
  const bob = await daemon.telnet(t, "W".repeat(32));
  bob.send("W".repeat(2000), `https://example.org/${"a".repeat(500)}`, "שלום, מה שלומך היום? https://example.org/א", "👩‍👩‍👧‍👦🎉", "مرحبا ".repeat(40));
  await daemon.request(`files/${"W".repeat(200)}.bin?name=${"M".repeat(30)}`, { method: "PUT", body: "x" });
  await say(page, "W".repeat(1000), "السلام عليكم");
  await sees(page, "You: السلام عليكم");
  const fits = () =>
    [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility() && !one.closest(".sr, .skip, svg") && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 80));
  assert.deepEqual(await page.evaluate(fits), []);
  assert.ok(await page.evaluate(() => document.getElementById("scroll").scrollWidth <= document.getElementById("scroll").clientWidth));
  const rtl = page.locator("#log .text", { hasText: "السلام" });
  assert.equal(await rtl.evaluate((one) => getComputedStyle(one).direction), "rtl");
  await page.locator("#open-side").click();
  await page.locator("#sheet .person").first().waitFor();
  assert.deepEqual(await page.evaluate(fits), []);
  const small = await page.locator("button:visible, a.card:visible").evaluateAll((all) =>
    all.filter((one) => one.getBoundingClientRect().height < 40 && !one.classList.contains("who")).map((one) => one.outerHTML),
  );
  assert.deepEqual(small, []);
});

test("the keyboard is enough", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:", "--files", "files");
  const bob = await daemon.telnet(t, "Bob");
  const { page } = await person(t);
  const focused = () => page.evaluate(() => {
    const { id, tagName, textContent } = document.activeElement;
    return id || (tagName === "BUTTON" ? textContent : "");
  });
  const press = async (key, times = 1) => {
    for (let left = times; left > 0; left--) await page.keyboard.press(key);
  };
  const tabTo = (what) => until(`the focus is on ${what}`, async () => (await press("Tab"), (await focused()).includes(what)));
  await page.goto(daemon.url);
  await page.locator("#entry").waitFor();
  await page.keyboard.type("Alice");
  await press("Enter");
  await until("the field has the focus", async () => (await focused()) === "text");
  await page.keyboard.type("hello");
  await press("Shift+Enter");
  await page.keyboard.type(" there");
  await press("Enter");
  await bob.hears("Alice: hello there");
  await tabTo("Bob");
  await press("Enter");
  await page.keyboard.type("psst");
  await press("Enter");
  await bob.hears("Alice (private): psst");
  await press("Escape");
  assert.ok(!(await page.locator("#private").isVisible()));
  await tabTo("rename");
  await press("Enter");
  await page.keyboard.type("Alicia");
  await press("Enter");
  await bob.hears("Alice changed his name to Alicia");
  await until("the focus is back", async () => (await focused()) === "text");
  await tabTo("leave");
  await press("Enter");
  await press("Escape");
  assert.ok(await page.locator("#chat").isVisible());
  await tabTo("leave");
  await press("Enter", 2);
  await page.locator("#door").waitFor();
});

test("the page asks what to do with pasted lines", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:", "--files", "files");
  const { page } = await joined(t, daemon, "Alice");
  const bob = await daemon.telnet(t, "Bob");
  const paste = (text) =>
    page.evaluate((words) => {
      const data = new DataTransfer();
      data.setData("text/plain", words);
      document.getElementById("text").dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
    }, text);
  const choose = (name) => page.locator("#ask").getByRole("button", { name }).click();
  await paste("one line\n");
  assert.equal(await page.locator("#text").inputValue(), "one line");
  await page.locator("#text").fill("");
  await paste("first\r\n\r\nsecond\n");
  await choose("Send 2 messages");
  await bob.hears("Alice: second");
  assert.equal(bob.count("Alice: first"), 1);
  await paste("Baker Street 1\nLondon");
  await choose("one line");
  await until("the lines are joined", async () => (await page.locator("#text").inputValue()) === "Baker Street 1 London");
  await page.locator("#text").fill("");
  await paste("a\nb\nc");
  await choose("file");
  await until("the file is shared", () => page.locator("#log .card", { hasText: /pasted .*\.txt/ }).isVisible());
});

for (const colorScheme of ["light", "dark"])
  for (const width of [320, 1280])
    test(`axe finds nothing, ${colorScheme} at ${width} px`, async (t) => {
      const daemon = await Daemon.start(t, "--db", ":memory:", "--files", "files");
      const viewport = { width, height: 700 };
      const { page, context } = await person(t, { allow: /status of 4|net::ERR/, colorScheme, viewport, reducedMotion: "reduce" });
      const check = async (what) => {
        const { violations } = await page.evaluate(() => window.axe.run());
        const found = violations.map((one) => `${one.id}: ${one.nodes.map((node) => `${node.html} ${node.failureSummary}`).join("; ")}`);
        assert.deepEqual(found, [], what);
      };
      await context.addInitScript({ path: axe });
      await page.goto(daemon.url);
      await page.locator("#entry").waitFor();
      await check("the door");
      const bob = await daemon.telnet(t, "Bob");
      await page.locator("#entry").fill("Bob");
      await page.keyboard.press("Enter");
      await until("the name is refused", async () => (await page.locator("#door-why").textContent()) !== "");
      await check("the door, refused");
      await enter(page, "Alice");
      await check("an empty conversation");
      for (const name of "cdefghijklmn") await daemon.telnet(t, `${name}${name}`);
      for (const name of "cdefghijklmn") await daemon.request(`messages?name=guest${name}`, { method: "POST", body: "hi https://example.org" });
      bob.send("hello https://example.org", "/msg Alice: psst https://example.org");
      await daemon.request("files/notes.txt?name=cron", { method: "PUT", body: "x" });
      await say(page, "hi https://example.org");
      await page.locator("#file").setInputFiles([{ name: "mine.txt", mimeType: "text/plain", buffer: Buffer.from("x") }]);
      await sees(page, "You: mine.txt");
      await page.locator("#log .who", { hasText: "Bob" }).first().click();
      await say(page, "a private answer");
      await sees(page, "You (private): a private answer");
      await check("a conversation");
      await page.locator("#text").fill("x".repeat(4200));
      await check("a text that is too long");
      await page.locator("#text").fill("");
      await page.locator("#text").press("Escape");
      if (width < 900) await page.locator("#open-side").click();
      await page.locator("#files .card").first().waitFor();
      await check("people and files");
      await page.locator("#rename").click();
      await check("a question");
      await page.keyboard.press("Escape");
      await daemon.end();
      await page.locator("#banner").waitFor();
      await say(page, "waiting");
      await page.locator("#waiting .own").waitFor();
      await check("reconnecting");
    });
