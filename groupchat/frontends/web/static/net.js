// The network: requests, the stream of lines, and uploads.

const PATIENCE = 20_000; // ms for an answer
const LATE = 4_000; // ms after which an answer that has not begun is late
const SILENCE = 40_000; // ms without a heartbeat after which a stream counts as broken

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** `status` is 0 if there was no answer. `after` is in seconds. `passing`: a later try may succeed. `excluded`: we were removed,
 * or banned. */
export class Refused extends Error {
	constructor(status, why, after = 0, excluded = false) {
		super(why || `The server answered ${status}.`);
		Object.assign(this, { status, after, excluded, passing: !status || status === 429 || status >= 500 });
	}
}

const authorization = {}; // for a browser that does not keep the cookie

/** Send this key with all requests, instead of the cookie. */
export const useKey = (key) => (authorization.Authorization = `Bearer ${key}`);
export const hasKey = () => "Authorization" in authorization;

const late = new Set(); // the timers of requests whose answers are late
let onLate = () => {};

/** Call `tell` with true when an answer is late, and with false when no answer is any more. */
export const watchLate = (tell) => (onLate = tell);

async function request(path, { headers, ...options }) {
	const timer = setTimeout(() => onLate(Boolean(late.add(timer))), LATE);
	const response = await fetch(path, { cache: "no-store", redirect: "error", headers: { ...headers, ...authorization }, ...options })
		.catch(() => {
			throw new Refused(0, "The server cannot be reached.");
		})
		.finally(() => {
			clearTimeout(timer);
			if (late.delete(timer)) onLate(late.size > 0);
		});
	if (response.ok) return response;
	const { error, excluded } = await response.json().catch(() => ({}));
	throw new Refused(response.status, error, Number(response.headers.get("Retry-After")) || 0, excluded);
}

/** Return the JSON of the answer. An object as `body` is sent as JSON, a string as plain text. */
export async function ask(path, body, method = "GET") {
	const late = new AbortController();
	const timer = setTimeout(() => late.abort(), PATIENCE);
	const text = typeof body === "string";
	const post = { method: "POST", body: text ? body : JSON.stringify(body), headers: { "Content-Type": text ? "text/plain" : "application/json" } };
	try {
		const response = await request(path, { signal: late.signal, ...(body === undefined ? { method } : post) });
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

/** Leave when the page is closed: nobody could come back with the key. */
export const leave = () => fetch("leave", { method: "POST", keepalive: true, headers: authorization }).catch(() => {});

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
	} catch (error) {
		if (!signal.aborted) throw error;
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
	if (hasKey()) wire.setRequestHeader("Authorization", authorization.Authorization);
	wire.send(file);
	return { promise, cancel: () => wire.abort() };
}
