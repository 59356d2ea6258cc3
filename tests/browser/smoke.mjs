// The shortest way through the page: join, say something, and read an answer.

import { after, test } from "node:test";
import { closeBrowser, Daemon, joined, say, sees } from "./harness.mjs";

after(closeBrowser);

test("a person joins, says something, and reads an answer", async (t) => {
  const daemon = await Daemon.start(t, "--db", ":memory:");
  const { page } = await joined(t, daemon, "Alice");
  const bob = await daemon.telnet(t, "Bob");
  await say(page, "hello");
  await sees(page, "You: hello");
  await bob.hears("Alice: hello");
  bob.send("hello Alice");
  await sees(page, "Bob: hello Alice");
});
