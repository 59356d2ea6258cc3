// Long conversations: scrolling up loads older lines, and the page stays responsive.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { closeBrowser, Daemon, drawn, joined, say, sees, shown, until } from "./harness.mjs";

after(closeBrowser);

const MOST_NODES = 6000;

async function filled(t, count) {
  const daemon = await Daemon.start(t, "--db", ":memory:", "--rate", "0", "--files", "files");
  const bob = await daemon.telnet(t, "Bob");
  for (let number = 1; number <= count; number += 500) {
    bob.send(...Array.from({ length: Math.min(500, count - number + 1) }, (_, index) => `line ${number + index}`));
    await until("the lines are said", async () => Number((await (await daemon.request("me")).json()).head) >= Math.min(count, number + 499));
  }
  return { daemon, bob };
}

const nodes = (page) => page.evaluate(() => document.querySelectorAll("*").length);

test("scrolling up loads history, and the lines in view stay", async (t) => {
  const { daemon } = await filled(t, 1000);
  const { page } = await joined(t, daemon, "Alice");
  await sees(page, "Bob: line 1000");
  const box = await page.locator("#scroll").boundingBox();
  await page.mouse.move(box.x + 200, box.y + 200);
  let jumps = 0;
  await until("the first line is shown", async () => {
    const before = await page.evaluate(() => {
      const top = document.getElementById("scroll").getBoundingClientRect().top;
      const row = [...document.querySelectorAll("#log li")].find((one) => one.getBoundingClientRect().top >= top);
      return [row.querySelector(".text")?.textContent, row.lastChild.getBoundingClientRect().top];
    });
    await page.mouse.wheel(0, -400);
    await drawn(page);
    const now = await page.evaluate((text) => {
      const row = [...document.querySelectorAll("#log li")].find((one) => one.querySelector(".text")?.textContent === text);
      return row?.lastChild.getBoundingClientRect().top;
    }, before[0]);
    if (now !== undefined && Math.abs(now - before[1]) > 900) jumps++;
    return (await shown(page)).includes("Bob: line 1");
  });
  assert.equal(jumps, 0);
  assert.ok((await nodes(page)) < MOST_NODES);
  assert.ok(await page.locator("#jump").isVisible());
  const lines = (await shown(page)).filter((line) => line.startsWith("Bob: "));
  for (const [index, line] of lines.entries()) assert.equal(line, `Bob: line ${index + 1}`);
  await until("it says that this is the beginning", async () => /begins/.test(await page.locator("#top").textContent()));
  await page.locator("#jump").click();
  await until("the newest is in view", () => page.locator("#log li").last().isVisible());
  await sees(page, "Bob: line 1000");
  assert.ok(!(await page.locator("#jump").isVisible()));
  await page.mouse.move(box.x + 200, box.y + 200);
  await until("line 300 is shown again", async () => {
    await page.mouse.wheel(0, -3000);
    await drawn(page);
    return (await shown(page)).includes("Bob: line 300");
  });
  await until("the end is reached", async () => {
    await page.mouse.wheel(0, 3000);
    await drawn(page);
    return !(await page.locator("#jump").isVisible());
  });
  await sees(page, "Bob: line 1000");
});

test("the page stays responsive while 10,000 lines arrive", async (t) => {
  const { daemon, bob } = await filled(t, 0);
  const { page } = await joined(t, daemon, "Alice");
  await say(page, "mine");
  await sees(page, "You: mine");
  await page.evaluate(() => {
    window.longest = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((one) => (window.longest = Math.max(window.longest, one.duration)))).observe({ type: "longtask" });
  });
  for (let number = 1; number <= 10_000; number += 500) {
    bob.send(...Array.from({ length: 500 }, (_, index) => `line ${number + index}`));
    await sees(page, `Bob: line ${number + 499}`);
    assert.ok((await nodes(page)) < MOST_NODES);
    await drawn(page);
  }
  t.diagnostic(`longest task: ${await page.evaluate(() => Math.round(window.longest))} ms, ${await nodes(page)} nodes`);
  await say(page, "and still it answers");
  await sees(page, "You: and still it answers");
  await bob.hears("Alice: and still it answers");
});
