// A real daemon, a real browser, and plain members over TCP and UDP. tests/test_page.py sets CHROMIUM and PYTHON, an
// interpreter that can import groupchat.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createSocket } from "node:dgram";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const SECONDS = 90;
const TWISTD = ["-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=", "groupchat"];
const QUIET = ["quic", "background-networking", "component-update", "sync", "gpu"].map((what) => `--disable-${what}`);
const LAN = "--host-resolver-rules=MAP *.lan 127.0.0.1";
const ARGUMENTS = ["--no-sandbox", "--no-first-run", LAN, ...QUIET];

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Wait until `test()` is true, and return its value. */
export async function until(what, test) {
  const end = Date.now() + SECONDS * 1000;
  for (;;) {
    const found = await test();
    if (found) return found;
    if (Date.now() > end) throw new Error(`timeout waiting until ${what}`);
    await sleep(30);
  }
}

const cleanups = new WeakMap();

/** Do this at the end of a test, before what was added earlier. */
function atEnd(t, act) {
  if (!cleanups.has(t)) {
    cleanups.set(t, []);
    t.after(async () => {
      const failures = [];
      for (const one of cleanups.get(t).reverse()) await Promise.resolve(one()).catch((error) => failures.push(error));
      if (failures.length) throw failures[0];
    });
  }
  cleanups.get(t).push(act);
}

/** One group. It can be killed and started again in the same directory, on the same ports. */
export class Daemon {
  static async start(t, ...options) {
    const daemon = new Daemon();
    daemon.directory = await mkdtemp(join(tmpdir(), "groupchat-page-"));
    daemon.ports = { web: 0, tcp: 0, udp: 0 };
    daemon.options = options;
    atEnd(t, async () => {
      await daemon.end("SIGTERM");
      await rm(daemon.directory, { recursive: true, force: true });
    });
    await daemon.start();
    return daemon;
  }

  /** Write a file into its directory, and return the path. */
  async file(name, content) {
    await writeFile(join(this.directory, name), content);
    return join(this.directory, name);
  }

  async start() {
    const { web, tcp, udp } = this.ports;
    const where = ["--interface", "127.0.0.1", "--port", udp, "--tcp", `tcp:${tcp}:interface=127.0.0.1`];
    const more = ["--web", `tcp:${web}:interface=127.0.0.1`, ...this.options];
    this.output = "";
    this.process = spawn(process.env.PYTHON, [...TWISTD, ...where, ...more].map(String), { cwd: this.directory });
    for (const pipe of [this.process.stdout, this.process.stderr]) pipe.on("data", (data) => (this.output += data));
    const port = (words) => Number(new RegExp(`${words}(\\d+)\\D`).exec(this.output)?.[1]);
    await until("the daemon answers", async () => {
      assert.equal(this.process.exitCode, null, this.output);
      this.ports = { web: port("http://127.0.0.1:"), tcp: port("TCP port "), udp: port("UDP port ") };
      this.url = `http://127.0.0.1:${this.ports.web}/`;
      this.lan = `http://group.lan:${this.ports.web}/`; // no secure context, unlike 127.0.0.1
      return Object.values(this.ports).every(Boolean) && fetch(`${this.url}healthz`).then((answer) => answer.status !== 503, () => false);
    });
  }

  async end(signal = "SIGKILL") {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const exited = once(this.process, "exit");
    this.process.kill(signal);
    const late = setTimeout(() => this.process.kill("SIGKILL"), SECONDS * 1000);
    await exited;
    clearTimeout(late);
  }

  request(path, options = {}) {
    return fetch(this.url + path, { ...options, headers: { Connection: "close", ...options.headers } });
  }

  /** A member that connects with telnet. `lines` is what arrived. */
  async telnet(t, name) {
    const socket = connect(this.ports.tcp, "127.0.0.1");
    const member = { lines: [], send: (...lines) => socket.write(lines.map((line) => `${line}\n`).join("")) };
    let rest = "";
    socket.setEncoding("utf8").on("data", (data) => {
      const lines = (rest + data).split("\n");
      rest = lines.pop();
      member.lines.push(...lines);
    });
    socket.on("error", () => {});
    atEnd(t, () => socket.destroy());
    member.count = (line) => member.lines.filter((other) => other === line).length;
    member.hears = (line) => until(`${name} reads ${line}`, () => member.lines.includes(line));
    member.send(name);
    await until(`${name} has joined`, () => member.lines.some((line) => line.includes("/help tells more")));
    return member;
  }

  /** A member that uses plain datagrams. */
  async udp(t, name) {
    const socket = createSocket("udp4");
    atEnd(t, () => socket.close());
    socket.connect(this.ports.udp, "127.0.0.1");
    await once(socket, "connect");
    const askOnce = async (request) => {
      const answer = once(socket, "message");
      socket.send(request);
      return String((await answer)[0]);
    };
    await askOnce(`1 ${name}`);
    return { ask: askOnce };
  }
}

/** A TCP proxy in front of the page, which breaks `breaks` connections after they sent so many `bytes`. `onBreak` is called
 * with the number of each break. */
export async function breakingProxy(t, daemon, bytes, breaks, onBreak = () => {}) {
  const proxy = { breaks: 0 };
  const { web } = daemon.ports;
  const all = new Set();
  const server = createServer((near) => {
    const far = connect(web, "127.0.0.1");
    const end = () => [near, far].forEach((socket) => socket.destroy());
    let sent = 0;
    near.on("data", (data) => {
      sent += data.length;
      if (!far.write(data)) far.once("drain", () => near.resume()) && near.pause();
      if (sent < bytes || proxy.breaks === breaks) return;
      sent = -Infinity;
      near.pause();
      far.write("", () => setTimeout(end)); // once the kernel has it
      onBreak(++proxy.breaks);
    });
    far.on("data", (data) => near.write(data));
    for (const socket of [near, far]) all.add(socket.on("error", end).on("close", end));
  });
  atEnd(t, () => {
    server.close();
    for (const socket of all) socket.destroy();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  proxy.url = `http://127.0.0.1:${server.address().port}/`;
  return proxy;
}

let browser = null;

export async function openBrowser() {
  browser ??= await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ARGUMENTS,
  });
  return browser;
}

/** A browser whose settings deny the storage of any data, cookies among them. */
export async function browserWithoutStorage(t) {
  const directory = await mkdtemp(join(tmpdir(), "groupchat-profile-"));
  await mkdir(join(directory, "Default"));
  await writeFile(join(directory, "Default", "Preferences"), JSON.stringify({ profile: { default_content_setting_values: { cookies: 2 } } }));
  const context = await chromium.launchPersistentContext(directory, { executablePath: process.env.CHROMIUM, args: ARGUMENTS });
  atEnd(t, async () => {
    await context.close();
    await rm(directory, { recursive: true, force: true });
  });
  return context;
}

export async function closeBrowser() {
  await browser?.close();
}

/** Messages in the browser's console when a test stops the server, or something is refused. */
export const AWAY = /net::ERR_/;
const NO_TLS = /Cross-Origin-Opener-Policy header has been ignored/;
export const REFUSED = /status of 4(01|03|09|13|29)/;

/** A person with a browser profile. At the end of the test its console may only have errors that `allow` matches. */
export async function person(t, { allow = null, keep = null, ...options } = {}) {
  const context = keep ?? (await (await openBrowser()).newContext({ locale: "en-GB", timezoneId: "UTC", ...options }));
  const wrong = [];
  context.setDefaultTimeout(SECONDS * 1000);
  context.on("console", (message) => {
    const isAllowed = [NO_TLS, allow].some((one) => one?.test(message.text()));
    if (["error", "warning"].includes(message.type()) && !isAllowed) wrong.push(message.text());
  });
  context.on("weberror", (error) => wrong.push(error.error().stack));
  atEnd(t, async () => {
    if (!keep) await context.close();
    assert.deepEqual(wrong, [], "errors in the browser");
  });
  return { context, page: await context.newPage() };
}

/** Make a page hidden or visible, as a browser does when the person goes to another tab. */
export const hide = (page, hidden) =>
  page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);

/** The page of a person who has joined. */
export async function joined(t, daemon, name, options) {
  const { context, page } = await person(t, options);
  await page.goto(daemon.url);
  await enter(page, name);
  return { context, page };
}

export async function enter(page, name) {
  await page.locator("#entry").fill(name);
  await page.keyboard.press("Enter");
  await page.locator("#chat").waitFor();
  await page.locator("#people .person").first().waitFor({ state: "attached" });
}

export async function say(page, ...texts) {
  for (const text of texts) {
    await page.locator("#text").fill(text);
    await page.locator("#text").press("Enter");
  }
}

/** The conversation on a page, each line as `Name: text`, or `Name (private): text`. */
export function shown(page) {
  return page.evaluate(() => {
    return [...document.querySelectorAll("#log li")].map((row) => {
      if (row.classList.contains("notice")) return row.lastChild.textContent;
      const name = (row.querySelector(".who bdi") ?? row.querySelector(".sr")).textContent.replace(/: $/, "");
      const what = row.querySelector(".text")?.textContent ?? row.querySelector(".card bdi").textContent;
      return `${name}${row.classList.contains("private") ? " (private)" : ""}: ${what}`;
    });
  });
}

/** Wait until a page shows this line, and check that it shows it once. */
export async function sees(page, line) {
  await until(`the page shows ${line}`, async () => (await shown(page)).includes(line));
  assert.equal((await shown(page)).filter((other) => other === line).length, 1, line);
}

/** Wait until the page has drawn what happened so far. */
export const drawn = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
