// The network: requests, the stream of lines, and uploads.

import { get, set } from "./store.js";

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

// Uploads: tus 1.0.0

const CHUNK = 8 * 1024 * 1024; // bytes of a request: proxies refuse long ones, or pass them on only once they are whole
const DAY = 86_400_000; // ms for which the server keeps what came of an upload
const LONGEST_PAUSE = 20_000; // ms before the next try
const TUS = { "Tus-Resumable": "1.0.0" };
const AGAIN = [408, 409, 423, 460]; // statuses after which an upload goes on where the server says

/** The uploads that were begun, also before the page was loaded again: their paths by name, size and date of the file. */
const begun = () => Object.entries(get("uploads", {})).filter(([, { at }]) => Date.now() - at < DAY);

function remember(mark, path) {
	const others = begun().filter(([other]) => other !== mark);
	set("uploads", Object.fromEntries(path ? [...others, [mark, { path, at: Date.now() }]] : others));
}

const encoded = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

/** Make a request of an upload that has no bytes, and return the answer. */
async function tell(method, path, headers) {
	const late = new AbortController();
	const timer = setTimeout(() => late.abort(), PATIENCE);
	return request(path, { method, signal: late.signal, headers: { ...TUS, ...headers } }).finally(() => clearTimeout(timer));
}

/** Send bytes of an upload, and return how many the server has then. `wire` is the request. */
function send(wire, path, offset, bytes, onProgress) {
	let watch;
	const alive = () => {
		clearTimeout(watch);
		watch = setTimeout(() => wire.abort(), SILENCE);
	};
	return new Promise((done, fail) => {
		wire.upload.onprogress = ({ loaded }) => {
			alive();
			onProgress(offset + loaded);
		};
		wire.onerror = wire.onabort = () => fail(new Refused(0, "The connection broke."));
		wire.onload = () => {
			const error = () => new Refused(wire.status, wire.response?.error, Number(wire.getResponseHeader("Retry-After")) || 0);
			wire.status < 300 ? done(Number(wire.getResponseHeader("Upload-Offset"))) : fail(error());
		};
		wire.open("PATCH", path);
		wire.responseType = "json";
		const type = { "Content-Type": "application/offset+octet-stream", "Upload-Offset": offset };
		for (const [name, value] of Object.entries({ ...TUS, ...type, ...authorization })) wire.setRequestHeader(name, value);
		alive();
		wire.send(bytes);
	}).finally(() => clearTimeout(watch));
}

/** Send a file, and go on where it broke until it is shared. `onProgress` gets the number of bytes that are sent, `onWait`
 * the reason why nothing is sent now. The promise fails if the server refuses the file, and ends after `cancel`. */
export function upload(file, name, onProgress, onWait) {
	const mark = JSON.stringify([name, file.size, file.lastModified]);
	let path = begun().find(([other]) => other === mark)?.[1].path;
	let isOver = false;
	let reached = 0;
	let tries = 0;
	let wire = null;

	const reach = (offset) => {
		if (offset > reached) tries = 0;
		return (reached = offset);
	};

	const giveUp = () => {
		if (path) tell("DELETE", path).catch(() => {});
		remember(mark, "");
	};

	const step = async () => {
		await file.slice(0, 1).arrayBuffer(); // a folder cannot be read, nor a file that has changed
		let offset = 0;
		if (path) offset = reach(Number((await tell("HEAD", path)).headers.get("Upload-Offset")));
		else {
			const described = { "Upload-Length": file.size, "Upload-Metadata": `filename ${encoded(name)}` };
			const created = await tell("POST", "uploads", described);
			path = `uploads/${created.headers.get("Location").split("/").pop()}`;
			if (isOver) return giveUp();
			remember(mark, path);
		}
		while (offset < file.size && !isOver) {
			onProgress(offset);
			wire = new XMLHttpRequest();
			offset = reach(await send(wire, path, offset, file.slice(offset, offset + CHUNK), onProgress));
		}
	};
	const run = async () => {
		while (!isOver) {
			try {
				await step();
				isOver = true;
			} catch (error) {
				if (isOver) return;
				const { status, passing, after } = error;
				if (path && status === 404) path = "";
				else if (!passing && !AGAIN.includes(status)) throw error;
				onWait(error.message);
				const online = new Promise((done) => addEventListener("online", done, { once: true }));
				await Promise.race([online, pause(Math.max(1000 * after, Math.min(LONGEST_PAUSE, 500 * 2 ** tries++)))]);
			}
		}
		remember(mark, "");
	};
	let cancel;
	const cancelled = new Promise((done) => {
		cancel = () => {
			isOver = true;
			wire?.abort();
			giveUp();
			done();
		};
	});
	return { promise: Promise.race([run(), cancelled]), cancel };
}
