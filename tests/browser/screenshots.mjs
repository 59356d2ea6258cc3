// `make screenshots`: pictures of the page on a phone and on a wide screen, light and dark. OUT is the directory for them;
// ALL=1 adds pictures of every state. The group is a real one; only the times of its lines are invented.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { closeBrowser, Daemon, enter, openBrowser, say, sees, until } from "./harness.mjs";

after(closeBrowser);

const OUT = process.env.OUT ?? "docs";
const ALL = process.env.ALL === "1";
const SIZES = { wide: { width: 1280, height: 800 }, phone: { width: 360, height: 740 } };
const NOON = Date.UTC(2026, 4, 14, 12, 4) / 1000; // a Thursday
const AT = { width: 1280, height: 800, colorScheme: "light", locale: "en-GB", timezoneId: "UTC" };

/** A picture that somebody might share. */
async function landscape() {
  const page = await (await openBrowser()).newPage();
  const url = await page.evaluate(() => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 420 });
    const c = canvas.getContext("2d");
    const fill = (...colours) => {
      const paint = c.createLinearGradient(0, 0, 0, 420);
      colours.forEach((colour, index) => paint.addColorStop(index / (colours.length - 1), colour));
      c.fillStyle = paint;
    };
    fill("#27476e", "#d88a6a", "#f6d7a3");
    c.fillRect(0, 0, 640, 420);
    c.fillStyle = "#fff3d6";
    c.arc(430, 215, 34, 0, 7);
    c.fill();
    [["#7d6a7e", 250, 34], ["#4d5d73", 290, 26], ["#24465a", 335, 18]].forEach(([colour, y, high], layer) => {
      c.fillStyle = colour;
      c.beginPath();
      c.moveTo(0, 420);
      for (let x = 0; x <= 640; x += 4) c.lineTo(x, y + high * Math.sin(x / (90 - layer * 17) + layer * 2) + high * 0.4 * Math.sin(x / 23 + layer));
      c.lineTo(640, 420);
      c.fill();
    });
    return canvas.toDataURL("image/webp", 0.9);
  });
  await page.close();
  return Buffer.from(url.split(",")[1], "base64");
}

/** Hold a conversation. Return for each line how many minutes before noon it was said. */
async function converse(t, daemon, page, picture) {
  const minutes = [];
  const told = async (before, act) => {
    const head = async () => (await (await daemon.request("me")).json()).head;
    const was = await head();
    await act();
    await until("it is said", async () => (await head()) > was);
    for (let number = was + 1; number <= (await head()); number++) minutes[number] = before;
  };
  const put = (name, body, who) => daemon.request(`files/${encodeURIComponent(name)}?name=${encodeURIComponent(who)}`, { method: "PUT", body });
  const DAY = 1440;
  const member = {};
  for (const [name, before] of [["Mia", 26 * 60], ["Jonas", 25.9 * 60], ["Priya", 25.8 * 60]])
    await told(before, async () => (member[name] = await daemon.telnet(t, name)));
  await told(DAY + 130, () => member.Mia.send("The forecast for Saturday turned: wind from the west, 4 to 5, and sun. 🌤"));
  await told(DAY + 128, () => member.Jonas.send("Then we sail! I will bring the big thermos."));
  await told(DAY + 110, () => member.Priya.send("Count me in. Who has the key to the boathouse?"));
  await told(95, () => enter(page, "Alice"));
  await told(72, () => say(page, "Good morning! I have the key, picking it up at 9."));
  await told(71, () => say(page, "And I printed the tide table: high water at 10:42"));
  await told(64, () => member.Mia.send("You are the best"));
  await told(58, () => member.Jonas.send("What a morning. Route for those who come by bike: https://www.openstreetmap.org/#map=14/54.32/10.13"));
  await told(41, () => member.Priya.send("/msg Alice: Can you lend me a life jacket? Mine is too small for my brother."));
  await told(39, async () => {
    await page.locator("#log .who", { hasText: "Priya" }).last().click();
    await say(page, "Of course, I have two.");
  });
  await page.locator("#text").press("Escape");
  let tariq = null;
  await told(24, async () => (tariq = await daemon.udp(t, "طارق")));
  await told(23, () => tariq.ask("2 صباح الخير! سأكون هناك في الثامنة"));
  await told(18, () => put("the bay at seven.webp", picture, "harbour cam"));
  const list = { name: "packing list.pdf", mimeType: "application/pdf", buffer: Buffer.alloc(84_300) };
  await told(12, () => page.locator("#file").setInputFiles([list]));
  await told(5, () => daemon.request(`messages?name=weather`, { method: "POST", body: "Buoy 4: wind 11 kn WSW, gusts 17 kn, water 13 °C" }));
  await told(2, () => member.Mia.send("⛵🎉"));
  await told(0, () => say(page, "See you all at the pier!"));
  return minutes;
}

/** Replace the times of lines, which were all said just now. */
async function date(page, minutes) {
  await page.clock.setFixedTime(new Date(NOON * 1000));
  await page.route("**/history?*", async (route) => {
    const answer = await route.fetch();
    const page = await answer.json();
    for (const line of page.lines) line.at = NOON - 60 * (minutes[line.number] ?? 0);
    await route.fulfill({ response: answer, json: page });
  });
}

async function settled(page) {
  await page.evaluate(() => document.fonts.ready);
  await until("pictures are loaded", () => page.evaluate(() => [...document.images].every((one) => one.complete)));
  await page.evaluate(() => Promise.all(document.getAnimations().map((one) => one.finished.catch(() => {}))));
}

test("screenshots", async (t) => {
  await mkdir(OUT, { recursive: true });
  const picture = await landscape();
  const options = ["--db", ":memory:", "--files", "files", "--group", "Saturday sailing", "--rate", "0"];
  const daemon = await Daemon.start(t, ...options);
  const context = await (await openBrowser()).newContext({ ...AT, viewport: SIZES.wide });
  const page = await context.newPage();
  await page.goto(daemon.url);
  const minutes = await converse(t, daemon, page, picture);
  await date(page, minutes);
  const shoot = async (name) => {
    await settled(page);
    await page.screenshot({ path: join(OUT, `page-${name}.png`) });
  };
  const reload = async () => {
    await page.reload();
    await sees(page, "You: See you all at the pier!");
    await page.locator("#files .card").first().waitFor({ state: "attached" });
  };
  for (const [size, viewport] of Object.entries(SIZES))
    for (const colorScheme of ["light", "dark"]) {
      const name = colorScheme === "light" ? size : `${size}-dark`;
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      await reload();
      await shoot(name);
      if (ALL) await states(page, name, shoot);
    }
  if (ALL) await doors(page, daemon, "phone-dark", shoot);
  assert.equal(await page.locator(".failure").count(), 0);
  await context.close();
});

async function states(page, name, shoot) {
  const wire = await page.context().newCDPSession(page);
  await wire.send("Network.enable");
  const free = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 };
  const network = (conditions) => wire.send("Network.emulateNetworkConditions", { ...free, ...conditions });
  const answerTo = async () => page.locator("#log .who", { hasText: "Mia" }).last().click();
  await page.locator("#scroll").evaluate((scroll) => scroll.scrollTo(0, 0));
  await shoot(`top-${name}`);
  await page.locator("#jump").click();
  if (name.startsWith("phone")) {
    await page.locator("#open-side").click();
    await shoot(`sheet-${name}`);
    await page.keyboard.press("Escape");
  }
  await network({ uploadThroughput: 200_000 });
  const files = ["boathouse.mp4", "crew.jpg"].map((one) => ({ name: one, mimeType: "video/mp4", buffer: Buffer.alloc(3_000_000) }));
  await page.locator("#file").setInputFiles(files);
  await until("the upload has begun", async () => / of /.test(await page.locator("#uploads").textContent()));
  await answerTo();
  await page.locator("#text").fill("A draft that is long enough to need a second line on a phone, and to show how it grows");
  await until("a part is sent", () => page.locator("#uploads progress").first().evaluate((bar) => bar.value > 0.15));
  await shoot(`upload-${name}`);
  for (const one of ["boathouse.mp4", "crew.jpg"]) await page.getByRole("button", { name: `Cancel ${one}` }).click();
  await page.locator("#rename").evaluate((button) => button.click());
  await shoot(`question-${name}`);
  await page.keyboard.press("Escape");
  await page.locator("#text").fill("");
  await page.locator("#text").press("Escape");
  await network({ offline: true });
  await page.locator("#banner").waitFor();
  await say(page, "I am on the train, and will be there at ten to eight");
  await shoot(`away-${name}`);
  await network({});
  await until("it is said", async () => (await page.locator("#waiting li").count()) === 0);
}

async function doors(page, daemon, name, shoot) {
  await page.context().clearCookies();
  await page.goto(daemon.url);
  await page.locator("#entry").waitFor();
  await shoot(`door-${name}`);
}
