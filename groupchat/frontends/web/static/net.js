// The network: requests, the stream of lines, and uploads.

const PATIENCE = 20_000; // ms for an answer
const SILENCE = 40_000; // ms without a heartbeat after which a stream counts as broken

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** `status` is 0 if there was no answer. `after` is in seconds. `passing`: a later try may succeed. */
export class Refused extends Error {
	constructor(status, why, after = 0) {
		super(why || `The server answered ${status}.`);
		Object.assign(this, { status, after, passing: !status || status === 429 || status >= 500 });
	}
}

async function request(path, options) {
	const response = await fetch(path, { cache: "no-store", redirect: "error", ...options }).catch(() => {
		throw new Refused(0, "The server cannot be reached.");
	});
	if (response.ok) return response;
	const { error } = await response.json().catch(() => ({}));
	throw new Refused(response.status, error, Number(response.headers.get("Retry-After")) || 0);
}

/** Return the JSON of the answer. An object as `body` is sent as JSON, a string as plain text. */
export async function ask(path, body) {
	const late = new AbortController();
	const timer = setTimeout(() => late.abort(), PATIENCE);
	const text = typeof body === "string";
	const post = { method: "POST", body: text ? body : JSON.stringify(body), headers: { "Content-Type": text ? "text/plain" : "application/json" } };
	try {
		const response = await request(path, { signal: late.signal, ...(body === undefined ? {} : post) });
		return response.status === 204 ? {} : await response.json();
	} catch (error) {
		throw error instanceof Refused ? error : new Refused(0, "The server's answer was incomplete.");
	} finally {
		clearTimeout(timer);
	}
}

/** Return a parser of server-sent events, fed with text: the HTML standard, "Interpreting an event stream". */
function eventReader(onEvent) {
	let rest = "";
	let event = {};
	return (text) => {
		const lines = (rest + text).split(/\r?\n/);
		rest = lines.pop();
		for (const line of lines) {
			const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
			if (line) event[field] = value;
			else if (event.data ?? event.event) onEvent(event.event ?? "message", event.data);
			if (!line) event = {};
		}
	};
}

/** Follow the conversation after line `after`, until the stream ends or `signal` is aborted. EventSource would not say why
 * it was refused, nor that heartbeats stopped. */
export async function follow(after, signal, onOpen, onEvent) {
	const broken = new AbortController();
	const stop = () => broken.abort();
	signal.onabort = stop;
	let watch = setTimeout(stop, PATIENCE);
	try {
		const { body } = await request(`events?after=${after}`, { signal: broken.signal });
		onOpen();
		const reader = body.getReader();
		const decoder = new TextDecoder();
		const feed = eventReader(onEvent);
		for (;;) {
			clearTimeout(watch);
			watch = setTimeout(stop, SILENCE);
			const { done, value } = await reader.read().catch(() => ({ done: true }));
			if (done) return;
			feed(decoder.decode(value, { stream: true }));
		}
	} finally {
		clearTimeout(watch);
		stop();
	}
}

export function upload(file, name, onProgress) {
	const wire = new XMLHttpRequest();
	const promise = new Promise((done, fail) => {
		wire.upload.onprogress = onProgress;
		wire.onerror = () => fail(new Refused(0, "The connection broke."));
		wire.onabort = () => done();
		wire.onload = () => (wire.status < 300 ? done() : fail(new Refused(wire.status, wire.response?.error)));
	});
	wire.open("PUT", `files/${encodeURIComponent(name)}`);
	wire.responseType = "json";
	wire.send(file);
	return { promise, cancel: () => wire.abort() };
}
