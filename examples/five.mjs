// Chat over the five messages. Run: node five.mjs HOST PORT NAME. Then type; the end of input leaves.
import dgram from "node:dgram";
import { lookup } from "node:dns/promises";
import { createInterface } from "node:readline";

const [host, port, name] = process.argv.slice(2);
const { address, family } = await lookup(host);
const server = dgram.createSocket(`udp${family}`);
await new Promise((connected) => server.connect(Number(port), address, connected));

// Print the reply and resolve to it. A join or a poll may be sent again without harm; anything else is sent once.
async function send(request) {
  for (let tries = "15".includes(request[0]) ? 5 : 1; tries > 0; tries--) {
    const reply = await new Promise((resolve) => {
      const timer = setTimeout(resolve, 2000);
      server.removeAllListeners("message").once("message", (data) => (clearTimeout(timer), resolve(String(data))));
      server.send(request);
    });
    if (reply) console.log(reply);
    if (reply !== undefined) return reply;
  }
  throw new Error("no reply");
}

let last = Promise.resolve(); // one request at a time: each waits for the one before it
const ask = (request) => (last = last.then(() => send(request)));

if ((await ask(`1 ${name}`)) === "Illegal message") process.exit(1);
const polling = setInterval(() => ask("5"), 1000);
for await (const line of createInterface({ input: process.stdin })) await ask(line ? `2 ${line}` : "5");
clearInterval(polling);
await ask("4");
server.close();
