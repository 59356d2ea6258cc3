// Files arrive unchanged in both directions, uploads can be cancelled, and only real pictures are shown.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { AWAY, breakingProxy, closeBrowser, Daemon, joined, sees, shown, until } from "./harness.mjs";

after(closeBrowser);

const hash = (data) => createHash("sha256").update(data).digest("hex");
const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==",
  "base64",
);
const start = (t, ...options) => Daemon.start(t, "--db", ":memory:", "--files", "files", ...options);
const give = (page, ...files) => page.locator("#file").setInputFiles(files);
const file = (name, buffer, mimeType = "application/octet-stream") => ({ name, buffer, mimeType });

test("an upload and a download arrive intact", async (t) => {
  const daemon = await start(t);
  const { page: alice } = await joined(t, daemon, "Alice");
  const { page: bob } = await joined(t, daemon, "Bob");
  const data = [randomBytes(20_000_000), randomBytes(1000), Buffer.alloc(0)];
  await give(alice, file("big one.bin", data[0]), file("ünï%20&#.txt", data[1]), file("empty", data[2]));
  for (const [index, name] of ["big one.bin", "ünï%20&#.txt", "empty"].entries()) {
    await sees(bob, `Alice: ${name}`);
    const coming = bob.waitForEvent("download");
    await bob.locator("#log .card", { hasText: name }).click();
    assert.equal(hash(await readFile(await (await coming).path())), hash(data[index]), name);
  }
  await until("no upload is left", async () => (await alice.locator("#uploads li").count()) === 0);
  await until("the file is in the list", () => bob.locator("#files .card", { hasText: "big one.bin" }).isVisible());
  assert.match(await bob.locator("#log .card", { hasText: "big one" }).textContent(), /20\.0 MB/);
});

test("an upload is cancelled", async (t) => {
  const daemon = await start(t);
  const { page, context } = await joined(t, daemon, "Alice");
  const wire = await context.newCDPSession(page);
  await wire.send("Network.enable");
  const slow = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 300_000 };
  await wire.send("Network.emulateNetworkConditions", slow);
  await give(page, file("wanted.bin", randomBytes(100_000)), file("unwanted.bin", randomBytes(9_000_000)));
  const row = page.locator("#uploads li", { hasText: "unwanted" });
  await until("it shows its progress", async () => / of 9\.0 MB/.test(await row.textContent()));
  await row.getByRole("button", { name: "Cancel" }).click();
  await wire.send("Network.emulateNetworkConditions", { ...slow, uploadThroughput: -1 });
  await sees(page, "You: wanted.bin");
  await until("no upload is left", async () => (await page.locator("#uploads li").count()) === 0);
  await give(page, file("last.bin", randomBytes(10)));
  await sees(page, "You: last.bin");
  assert.equal(await page.locator("#log .card", { hasText: "unwanted" }).count(), 0);
});

/** Chromium sends a request anew whose connection broke; by then the offset is another one. */
const CUT = /net::ERR_|status of (409|503)/;
const BIG = Number(process.env.SIZE ?? 20_000_000);

test("an upload goes on through breaks and a kill of the server", async (t) => {
  const daemon = await Daemon.start(t, "--db", "log.db", "--files", "files");
  const { page: bob } = await joined(t, daemon, "Bob", { allow: AWAY });
  let killed = null;
  const restart = () => daemon.end("SIGKILL").then(() => daemon.start());
  const proxy = await breakingProxy(t, daemon, BIG / 24, 20, (number) => number === 10 && (killed = restart()));
  const { page } = await joined(t, { url: proxy.url }, "Alice", { allow: CUT });
  const data = randomBytes(BIG);
  const seen = new Set();
  await page.exposeFunction("note", (words) => seen.add(words));
  await page.evaluate(() => {
    const uploads = document.querySelector("#uploads");
    new MutationObserver(() => window.note(uploads.innerText)).observe(uploads, { childList: true, subtree: true });
  });
  await give(page, await daemon.file("big.bin", data));
  await give(page, file("next.bin", randomBytes(10)));
  await sees(bob, "Alice: next.bin");
  await sees(bob, "Alice: big.bin");
  await killed;
  assert.equal(proxy.breaks, 20);
  assert.ok(data.equals(await readFile(join(daemon.directory, "files", "big.bin"))));
  const words = [...seen].join(" ");
  assert.match(words, /Waiting to go on: The (connection broke|server cannot be reached)/);
  assert.match(words, /[\d.]+ MB of [\d.]+ MB · [\d.]+ [kM]B\/s/);
  const order = (await shown(bob)).filter((line) => line.startsWith("Alice: "));
  assert.deepEqual(order, ["Alice: big.bin", "Alice: next.bin"]);
});

test("a file that is chosen again after a reload goes on", async (t) => {
  const daemon = await start(t);
  const { page, context } = await joined(t, daemon, "Alice", { allow: AWAY });
  const wire = await context.newCDPSession(page);
  await wire.send("Network.enable");
  const slow = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 1_000_000 };
  await wire.send("Network.emulateNetworkConditions", slow);
  const path = await daemon.file("big.bin", randomBytes(4_000_000));
  await give(page, path);
  await until("half of it is sent", async () => /[2-3]\.\d MB of/.test(await page.locator("#uploads").textContent()));
  page.on("dialog", (dialog) => dialog.accept());
  await page.reload();
  await page.locator("#chat").waitFor();
  await wire.send("Network.emulateNetworkConditions", { ...slow, uploadThroughput: -1 });
  const offsets = [];
  page.on("request", (request) => request.method() === "PATCH" && offsets.push(Number(request.headers()["upload-offset"])));
  await give(page, path);
  await sees(page, "You: big.bin");
  assert.ok(offsets[0] > 1_000_000, `it went on at ${offsets}`);
  assert.ok((await readFile(path)).equals(await readFile(join(daemon.directory, "files", "big.bin"))));
});

test("a file that is too large is refused with a reason", async (t) => {
  const daemon = await start(t, "--max-file", "1");
  const { page } = await joined(t, daemon, "Alice");
  await give(page, file("large.bin", randomBytes(1_100_000)));
  await until("the reason is shown", async () => /Larger than 1\.0 MB/.test(await page.locator("#uploads .failed").textContent()));
  await page.locator("#uploads").getByRole("button", { name: "Cancel" }).click();
  assert.equal(await page.locator("#uploads li").count(), 0);
});

test("pictures are shown, files that are only named like one are not", async (t) => {
  const daemon = await start(t);
  const { page } = await joined(t, daemon, "Alice", { allow: /status of 404/ });
  await give(page, file("dot.png", PNG, "image/png"), file("drawing.svg", Buffer.from("<svg onload=alert(1)>"), "image/svg+xml"));
  await sees(page, "You: dot.png");
  await sees(page, "You: drawing.svg");
  await until("the picture is loaded", () => page.locator("#log img").evaluate((image) => image.naturalWidth === 1));
  await give(page, file("fake.jpg", Buffer.from("<script>alert(1)</script>"), "image/jpeg"));
  await sees(page, "You: fake.jpg");
  await until("only the real picture is left", async () => (await page.locator("#log img").count()) === 1);
});

test("files are dropped and pasted", async (t) => {
  const daemon = await start(t);
  const { page } = await joined(t, daemon, "Alice");
  const dropped = (types) =>
    page.evaluate((events) => {
      const data = new DataTransfer();
      for (const name of ["one.txt", "two.txt"]) data.items.add(new File([name], name));
      for (const type of events) document.body.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
    }, types);
  await dropped(["dragenter", "dragover"]);
  assert.ok(await page.locator("#drop").isVisible());
  await dropped(["drop"]);
  await sees(page, "You: one.txt");
  await sees(page, "You: two.txt");
  assert.ok(!(await page.locator("#drop").isVisible()));
  await page.evaluate(() => {
    const data = new DataTransfer();
    data.items.add(new File(["x"], "image.png", { type: "image/png" }));
    document.getElementById("text").dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
  });
  await page.locator("#ask").getByRole("button", { name: "Share" }).click();
  await until("the picture is shared", () => page.locator("#log .card", { hasText: /pasted .*\.png/ }).isVisible());
});
