// A page of another server makes the browser send requests to the port of the line protocol: it says nothing there.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, test } from "node:test";
import { closeBrowser, Daemon, person } from "./harness.mjs";

after(closeBrowser);

const BODY = "\nEvil\nhello\n/quit\n";
const LONG = "a".repeat(5000);

test("a web page does not speak in the group", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const bob = await daemon.telnet(t, "Bob");
  const server = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end("<iframe name=inner></iframe>"));
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => server.close());
  const { page } = await person(t, { allow: /./ });
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const target = `http://127.0.0.1:${daemon.ports.tcp}/`;
  const fetched = await page.evaluate(
    async ([target, LONG, BODY]) => {
      const options = { method: "POST", mode: "no-cors", body: BODY };
      const tried = [fetch(target, options), fetch(target + LONG, options), fetch(target + "a".repeat(100_000), options)];
      return (await Promise.allSettled(tried)).map((result) => result.status);
    },
    [target, LONG, BODY],
  );
  assert.deepEqual(fetched, ["rejected", "rejected", "rejected"]);
  for (const path of ["", LONG])
    await page.evaluate(
      ([action, BODY]) =>
        new Promise((done) => {
          document.querySelector("iframe").onload = done;
          const form = Object.assign(document.createElement("form"), { action, method: "post", enctype: "text/plain", target: "inner" });
          const field = Object.assign(document.createElement("textarea"), { name: "x", value: BODY });
          form.append(field);
          document.body.append(form);
          form.submit();
        }),
      [target + path, BODY],
    );
  const carol = await daemon.telnet(t, "Carol");
  carol.send("the end");
  await bob.hears("Carol: the end");
  assert.deepEqual(bob.lines.slice(-2), ["Carol has joined", "Carol: the end"]);
  assert.equal(bob.lines.filter((line) => /Evil|hello|has left/.test(line)).length, 0);
});
