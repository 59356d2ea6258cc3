// What others write is shown as text: names, texts, file names and the group's name.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { closeBrowser, Daemon, enter, joined, person, REFUSED, say, sees, shown, until } from "./harness.mjs";

after(closeBrowser);

const RUN = "window.harmed=1";
const TEXTS = [
  `<script>${RUN}</script>`,
  `<img src=x onerror=${RUN}>`,
  `<svg onload=${RUN}>`,
  `"><svg/onload=${RUN}>`,
  `'><iframe srcdoc="<script>parent.harmed=1</script>">`,
  `<a href="javascript:${RUN}">click</a>`,
  `<style>*{display:none}</style><link rel=stylesheet href=//evil.example/x.css>`,
  `<base href=//evil.example/><meta http-equiv=refresh content=0;url=//evil.example>`,
  `</textarea></script></style></title><script>${RUN}</script>`,
  `<math><mtext><table><mglyph><style><img src=x onerror=${RUN}>`,
  `{{constructor.constructor('${RUN}')()}} \${${RUN}} <%= ${RUN} %>`,
  `javascript:${RUN}`,
  `data:text/html,<script>${RUN}</script>`,
  `https://"onmouseover="${RUN}"`,
  `http://javascript:${RUN}@`,
  `&lt;script&gt;${RUN}&lt;/script&gt; &#60;img&#62;`,
  `__proto__ constructor toString`,
];
const NAMES = ["<img src=x onerror=harmed=1>", '"><svg onload=harmed=1>', "<script>harmed=1</script>", "'onclick='harmed=1'", "__proto__"];
const FILES = [`<img src=x onerror=${RUN}>.png`, `' onerror='${RUN}'.gif`, "x.png?y=.svg", "..%2f..%2fapp.js", "javascript&colon;harmed=1"];

test("what others write is never executed", async (t) => {
  const group = `<img src=x onerror=${RUN}>`;
  const daemon = await Daemon.start(t, "--db", ":memory:", "--files", "files", "--group", group);
  const { page } = await joined(t, daemon, "Alice", { allow: /status of 404/ });
  await page.evaluate(() => addEventListener("securitypolicyviolation", (event) => (window.harmed = event.violatedDirective)));
  const bob = await daemon.telnet(t, "Bob");
  bob.send(...TEXTS);
  for (const text of TEXTS) await sees(page, `Bob: ${text}`);
  for (const name of NAMES) {
    const member = await daemon.telnet(t, name);
    member.send("here I am");
    await sees(page, `${name}: here I am`);
    await until("the name is in the list", () => page.locator("#people .person", { hasText: name }).isVisible());
    await page.locator("#people .person", { hasText: name }).click();
    assert.equal(await page.locator("#private-to").textContent(), name);
  }
  const put = (name) => daemon.request(`files/${encodeURIComponent(name)}?name=cron`, { method: "PUT", body: "x" });
  const got = [];
  for (const name of FILES) {
    const answer = await put(name);
    if (answer.ok) got.push((await answer.json()).name);
  }
  assert.ok(got.length, "no file was accepted");
  for (const name of got) await sees(page, `cron: ${name}`);
  assert.equal(await page.locator("#group").textContent(), group);
  await page.locator("#leave").hover();
  assert.equal(await page.evaluate(() => window.harmed), undefined);
  const strange = "#log :is(script, style, iframe, svg:not([aria-hidden]), base, link, meta, math, table)";
  assert.equal(await page.locator(strange).count(), 0);
  const events = () => [...document.querySelectorAll("*")].some((one) => [...one.attributes].some(({ name }) => /^on/.test(name)));
  assert.ok(!(await page.evaluate(events)));
  await page.reload();
  await sees(page, `cron: ${got[0]}`);
  assert.equal(await page.evaluate(() => window.harmed), undefined);
});

test("links lead to http and https only", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page } = await joined(t, daemon, "Alice");
  const bob = await daemon.telnet(t, "Bob");
  bob.send(
    "see https://example.org/a_(b)?c=d&e=f#g. And (http://example.org/x), right?",
    "javascript:alert(1) data:text/html,x file:///etc/passwd ftp://example.org vbscript:x",
    "JaVaScRiPt:alert(1)//http://",
    "http:// https://? https://[ http://\u0000x".replace("\u0000", ""),
    "HTTPS://EXAMPLE.ORG/Upper",
  );
  await sees(page, "Bob: HTTPS://EXAMPLE.ORG/Upper");
  const links = await page.locator("#log .text a").evaluateAll((all) => all.map((a) => [a.getAttribute("href"), a.textContent, a.rel, a.target]));
  const rest = ["noopener noreferrer", "_blank"];
  assert.deepEqual(links.slice(0, 2), [
    ["https://example.org/a_(b)?c=d&e=f#g", "https://example.org/a_(b)?c=d&e=f#g", ...rest],
    ["http://example.org/x", "http://example.org/x", ...rest],
  ]);
  assert.deepEqual(links.at(-1), ["https://example.org/Upper", "HTTPS://EXAMPLE.ORG/Upper", ...rest]);
  for (const [href] of links) assert.match(href, /^https?:\/\/[^/]/);
  assert.ok((await shown(page)).includes("Bob: see https://example.org/a_(b)?c=d&e=f#g. And (http://example.org/x), right?"));
});

test("another site can neither write nor read", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const answer = await daemon.request("messages?name=cron", { method: "POST", body: "hi", headers: { Origin: "https://evil.example" } });
  assert.equal(answer.status, 403);
  const page = await daemon.request("");
  assert.match(page.headers.get("content-security-policy"), /default-src 'none'/);
});

test("a link before thousands of brackets is found quickly", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page } = await joined(t, daemon, "Alice");
  const link = await page.evaluate(async () => {
    const { bubble } = await import("/log.js");
    const made = bubble({ kind: "said", at: 0, text: `http://a/(b)${".".repeat(2000)}x${")".repeat(2000)}` }, "");
    return made.querySelector("a").textContent;
  });
  assert.equal(link, `http://a/(b)${".".repeat(2000)}x`);
});

const PLANTED = "ee".repeat(16);
const who = async (daemon, key) => (await (await daemon.request("me", { headers: { Cookie: `http-groupchat=${key}` } })).json()).name;

test("whoever plants a cookie does not know the key of the member", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page, context } = await person(t);
  const plant = () => context.addCookies([{ name: "http-groupchat", value: PLANTED, url: daemon.url }]);
  await plant();
  await page.goto(daemon.url);
  await page.locator("#entry").waitFor();
  await plant(); // and once more, after the page has asked who it is
  await enter(page, "Alice");
  assert.equal(await who(daemon, PLANTED), null);
  const [cookie] = await context.cookies();
  assert.match(cookie.value, /^[0-9a-f]{32}$/);
  assert.equal(await who(daemon, cookie.value), "Alice");
  assert.ok(cookie.httpOnly);
  await page.reload();
  await page.locator("#chat").waitFor();
  assert.equal(await page.locator("#self").textContent(), "Alice");
});

test("the page is on a planted seat only if it shows that name", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page, context } = await person(t);
  await daemon.request("name", { method: "POST", body: "Mallory", headers: { Authorization: `Bearer ${PLANTED}` } });
  await page.goto(daemon.url);
  await page.locator("#entry").waitFor();
  await context.addCookies([{ name: "http-groupchat", value: PLANTED, url: daemon.url }]);
  await page.locator("#entry").fill("Alice");
  await page.keyboard.press("Enter");
  await page.locator("#chat").waitFor();
  assert.equal(await page.locator("#self").textContent(), "Mallory");
  assert.equal(await who(daemon, PLANTED), "Mallory");
});

test("a cookie planted later does not make others the author", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page, context } = await joined(t, daemon, "Alice", { allow: REFUSED });
  const bob = await daemon.telnet(t, "Bob");
  await daemon.request("name", { method: "POST", body: "Mallory", headers: { Authorization: `Bearer ${PLANTED}` } });
  await sees(page, "Mallory has joined");
  await page.locator("#people .person", { hasText: "Bob" }).click();
  await context.addCookies([{ name: "http-groupchat", value: PLANTED, url: daemon.url }]);
  await say(page, "a secret");
  await until("the page shows who it is now", async () => (await page.locator("#self").textContent()) === "Mallory");
  await page.locator("#waiting .failure").waitFor();
  bob.send("/users");
  await bob.hears("* 3 here:");
  assert.deepEqual(bob.lines.filter((line) => line.includes("secret")), []);
});
