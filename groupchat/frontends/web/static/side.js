// Beside the conversation: people, files, questions, and uploads.

import { ask, Refused, upload } from "./net.js";
import { $, bdi, card, face, icon, make, moment, put } from "./log.js";

const WINDOW = 5_000; // ms over which the speed of an upload is measured
const MOST_FILES = 50;
const EVERY = 15_000; // ms between two requests for the list of people

/** Ask a question. Return the name of a button, or "" after Escape. `check` gets the
 * entry and the name, unless that is "cancel", and may throw an error. */
export function question({ title, text = "", input = null, buttons, check = async () => {} }) {
	const dialog = $("ask");
	const form = dialog.firstElementChild;
	const field = $("ask-input");
	const [main] = Object.keys(buttons);
	const drawn = Object.keys(buttons).map((name) => make(name === main ? "button.main" : "button", { value: name }, buttons[name]));
	put("ask-title", title);
	put("ask-text", text);
	put("ask-why", "");
	$("ask-buttons").replaceChildren(...drawn);
	field.hidden = input === null;
	field.value = input ?? "";
	return new Promise((done) => {
		form.onsubmit = async (event) => {
			event.preventDefault();
			const name = event.submitter?.value || main;
			try {
				if (name !== "cancel") await check(field.value, name);
				dialog.close(name);
			} catch (error) {
				put("ask-why", error.message);
			}
		};
		dialog.onclose = () => done(dialog.returnValue);
		dialog.onclick = (event) => {
			if (event.target === dialog) dialog.close(); // a click outside
		};
		dialog.returnValue = "";
		if (!dialog.open) dialog.showModal();
		if (input === null) drawn[0].focus();
		else field.select();
	});
}

// The panel: beside the conversation, or in a sheet

const sheet = $("sheet");
const wide = matchMedia("(min-width: 900px)");
export const closeSheet = () => sheet.close();

function place() {
	if (wide.matches) closeSheet();
	(wide.matches ? $("side") : sheet).append($("panel"));
}

function how({ how, last_contact: at, behind }) {
	const words = how === "away" && at ? `away since ${moment(at)}` : how;
	return behind ? `${words} · ${behind} behind` : words;
}

function person(member, isMe) {
	const marks = [member.operator && "operator", member.muted && "muted", isMe ? "you" : how(member)].filter(Boolean);
	const words = make("span.words", {}, bdi(member.name), make("small", {}, marks.join(" · ")));
	const inside = isMe
		? make("div.person", {}, face(member.name), words)
		: make("button.person", { title: "Write privately", "data-to": member.name }, face(member.name), words, icon("lock"));
	return make(`li.${member.how}`, {}, inside);
}

/** Replace the rows of a list, and keep the focus on the same row. */
function fill(list, rows) {
	const key = (one) => one.dataset.to ?? one.href;
	const held = list.contains(document.activeElement) && key(document.activeElement);
	list.replaceChildren(...rows);
	if (held) [...list.querySelectorAll("button, a")].find((one) => key(one) === held)?.focus();
}

export class Side {
	/** `onLook` is called when `me` may have changed. */
	constructor(me, onLook) {
		Object.assign(this, { _me: me, _onLook: onLook, _muted: new Set() });
		this._soon = 0;
		this._files = true;
		wide.onchange = place;
		place();
		$("open-side").onclick = () => {
			sheet.showModal();
			this.changed(true);
		};
		sheet.onclick = ({ target }) => {
			if (target === sheet || target.closest(".shut")) closeSheet();
		};
		setInterval(() => document.hidden || this.changed(), EVERY);
	}

	isMuted(name) {
		return this._muted.has(name);
	}

	changed(files = false) {
		this._files ||= files;
		if (this._me.name) this._soon ||= setTimeout(() => this._look(), 200);
	}

	async _look() {
		try {
			this._showPeople(await ask("members"));
			if (this._files && this._me.files) this._showFiles((await ask("files")).files);
			this._files = false;
		} catch (error) {
			if (!(error instanceof Refused)) throw error;
		} finally {
			this._soon = 0;
		}
	}

	_showPeople({ members, total, topic }) {
		const own = members.find(({ id }) => id === this._me.id);
		Object.assign(this._me, { topic }, own && { operator: own.operator });
		this._muted = new Set(members.filter(({ muted }) => muted).map(({ name }) => name));
		this._onLook();
		const rank = ({ how, name }) => ["live", "polling", "away"].indexOf(how) + name.toLowerCase();
		members.sort((one, other) => (rank(one) < rank(other) ? -1 : 1));
		fill($("people"), members.map((member) => person(member, member.id === this._me.id)));
		const away = members.filter(({ how }) => how === "away").length;
		put("more", total > members.length ? `and ${total - members.length} more` : "");
		put("count", `${total - away} here${away ? `, ${away} away` : ""}`);
		put("people-title", `People (${total})`);
	}

	_showFiles(files) {
		const newest = files.sort((one, other) => other.at - one.at).slice(0, MOST_FILES);
		fill($("files"), newest.map(({ name, size }) => make("li", {}, card(name, inWords(size)))));
		$("shelf").hidden = !newest.length;
	}
}

function inWords(size) {
	if (size < 1000) return `${size} B`;
	let unit = -1;
	for (; +size.toFixed(1) >= 1000; unit++) size /= 1000;
	return `${size.toFixed(1)} ${"kMGT"[unit]}B`;
}

export class Uploads {
	constructor(me) {
		this._me = me;
		this._queue = [];
		this._running = false;
		addEventListener("beforeunload", (event) => this._running && event.preventDefault());
	}

	add(files) {
		for (const file of files) this._show(file, file.name.replace(/[/\\:*?"<>|\x00-\x1f\x7f]/g, "_") || "file");
	}

	_show(file, name) {
		const bar = make("progress", { "aria-label": name, max: 1, value: 0 });
		const state = make("small");
		const again = make("button", {}, "Try again");
		const cancel = make("button.icon", { "aria-label": `Cancel ${name}` }, icon("close"));
		const row = make("li", {}, icon("file"), make("span.words", {}, bdi(name), state), again, cancel, bar);
		const entry = { file, name, row, bar, state, again, wire: null, over: false };
		$("uploads").append(row);
		again.onclick = () => this._enqueue(entry);
		cancel.onclick = () => {
			entry.over = true;
			entry.wire?.cancel();
			row.remove();
			$("text").focus();
		};
		this._enqueue(entry);
	}

	_enqueue(entry) {
		entry.again.hidden = true;
		entry.row.classList.remove("failed");
		entry.state.textContent = "Waiting";
		this._queue.push(entry);
		this._work();
	}

	async _work() {
		if (this._running || !this._queue.length) return;
		this._running = true;
		await this._send(this._queue.shift());
		this._running = false;
		this._work();
	}

	async _send(entry) {
		const { file, name, bar, state } = entry;
		const most = this._me.max_file;
		const speed = meter();
		try {
			if (file.size > most) throw new Refused(413, `Larger than ${inWords(most)}, the limit of this server.`);
			if (entry.over) return;
			state.textContent = "Waiting for a connection";
			const onProgress = (sent) => {
				bar.value = file.size ? sent / file.size : 1;
				state.textContent = sent < file.size ? `${inWords(sent)} of ${inWords(file.size)}${speed(sent)}` : "Storing";
			};
			entry.wire = upload(file, name, onProgress, (why) => (state.textContent = `Waiting to go on: ${why}`));
			await entry.wire.promise;
			entry.row.remove();
		} catch (error) {
			state.textContent = error instanceof Refused ? error.message : "This cannot be read. Is it a folder?";
			bar.value = 0;
			entry.row.classList.add("failed");
			entry.again.hidden = false;
		}
	}
}

/** Return a function that gets how much is sent, and returns the speed in words. */
function meter() {
	let samples = [];
	return (sent) => {
		const now = performance.now();
		samples = [...samples.filter(([at, before]) => now - at < WINDOW && before <= sent), [now, sent]];
		const [at, before] = samples[0];
		return now - at > 500 ? ` · ${inWords(Math.round((sent - before) / (now - at) * 1000))}/s` : "";
	};
}
