// Uploads by a client of tus that others wrote: they go on where they broke, also after the daemon was killed.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { Upload } from "tus-js-client";
import { breakingProxy, Daemon } from "./harness.mjs";

const BREAKS = 20;
const SIZE = Number(process.env.SIZE ?? 8_000_000);

const start = (t) => Daemon.start(t, "--files", "files", "--db", "log.db");

/** Send data with this client. `done` is when that is done; `upload.url` is known earlier. */
function send(data, options) {
  let upload;
  const done = new Promise((onSuccess, onError) => {
    upload = new Upload(data, {
      retryDelays: Array(100).fill(100),
      metadata: { filename: "ünï big.bin", filetype: "application/octet-stream" },
      onSuccess,
      onError,
      ...options,
    });
  });
  upload.start();
  return { upload, done };
}

/** The files of a daemon, and what it was told about them. */
const shared = async (daemon) => (await (await daemon.request("files")).json()).files.map(({ name }) => name);

for (const [words, chunkSize] of [["in one request", Infinity], ["in chunks", SIZE / 4]]) {
  test(`a file sent ${words} arrives through ${BREAKS} breaks and a kill`, async (t) => {
    const daemon = await start(t);
    const data = randomBytes(SIZE);
    let killed = null;
    const restart = async () => {
      await daemon.end("SIGKILL");
      await daemon.start();
    };
    const proxy = await breakingProxy(t, daemon, SIZE / BREAKS / 1.2, BREAKS, (number) => number === 10 && (killed = restart()));
    await send(data, { endpoint: `${proxy.url}uploads?name=cron`, chunkSize }).done;
    await killed;
    assert.equal(proxy.breaks, BREAKS);
    assert.ok(data.equals(await readFile(join(daemon.directory, "files", "ünï big.bin"))));
    assert.deepEqual(await shared(daemon), ["ünï big.bin"]);
  });
}

test("a client that was started again goes on", async (t) => {
  const daemon = await start(t);
  const key = randomBytes(16).toString("hex");
  const headers = { Authorization: `Bearer ${key}` };
  assert.equal((await daemon.request("name", { method: "POST", body: "Robot", headers: { ...headers, "Content-Type": "text/plain" } })).status, 200);
  const data = randomBytes(1_000_000);
  const proxy = await breakingProxy(t, daemon, 600_000, 1);
  const first = send(data, { endpoint: `${proxy.url}uploads`, headers, retryDelays: null });
  await assert.rejects(first.done);
  await daemon.end("SIGTERM");
  await daemon.start();
  const sent = [];
  await send(data, { uploadUrl: first.upload.url, headers, onProgress: (bytes) => sent.push(bytes) }).done;
  assert.ok(sent[0] > 300_000, `it began at ${sent[0]}`);
  assert.ok(data.equals(await readFile(join(daemon.directory, "files", "ünï big.bin"))));
});

test("a file of a stream is sent in chunks, and another is given up", async (t) => {
  const daemon = await start(t);
  const bob = await daemon.telnet(t, "Bob");
  const data = randomBytes(500_000);
  const pieces = Readable.from([data.subarray(0, 200_000), data.subarray(200_000)]);
  const endpoint = `${daemon.url}uploads?name=cron`;
  await send(pieces, { endpoint, chunkSize: 100_000, uploadSize: data.length }).done;
  await bob.hears("cron shared ünï big.bin (500.0 kB)");
  assert.ok(data.equals(await readFile(join(daemon.directory, "files", "ünï big.bin"))));
  const url = await new Promise((given_up) => {
    const { upload } = send(data, { endpoint, chunkSize: 100_000, onChunkComplete: () => upload.abort(true).then(() => given_up(upload.url)) });
  });
  const gone = await fetch(url, { method: "HEAD", headers: { "Tus-Resumable": "1.0.0" } });
  assert.equal(gone.status, 404);
  await send(Buffer.alloc(0), { endpoint, metadata: { filename: "empty" } }).done;
  await bob.hears("cron shared empty (0 B)");
});
