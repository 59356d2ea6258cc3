// Texts that are written and not yet sent. They survive reloads, and all tabs share them: each is stored under an id that
// the server accepts once, whichever tab sends it. If nothing can be stored, they last as long as the page.

import { pause } from "./net.js";
import { all, get, set, watch } from "./store.js";

const OUT = "out.";
const PATIENCE = 1000; // ms for the database: in some browsers it never answers

const open = () =>
	new Promise((done, fail) => {
		const asking = indexedDB.open("groupchat");
		asking.onupgradeneeded = () => asking.result.createObjectStore("ids");
		asking.onsuccess = () => done(asking.result);
		asking.onerror = fail;
	});

/** Count the last id up from `lowest` at least, in a transaction, so that two tabs never take the same. */
async function countUp(opened, lowest) {
	const transaction = (await opened).transaction("ids", "readwrite");
	const ids = transaction.objectStore("ids");
	return new Promise((done, fail) => {
		let id;
		const found = ids.get("last");
		found.onsuccess = () => ids.put((id = Math.max(found.result || 0, lowest) + 1), "last");
		transaction.oncomplete = () => done(id);
		transaction.onabort = fail;
	});
}

/** The texts that wait, oldest first: {id, text, to, at, after, tried, since, failed, said, shown, own}.
 *
 * `id`: 0 for a moment at first. `after`: the last line when it was written. `tried`, `since`: the member id under which it
 * was sent, and since when that sat there, so that it may have been said. `failed`: why it was refused. `said`: the server
 * has it, and its line is to come. `shown`: a line like it has come. `own`: it was written in this tab.
 */
export class Outbox {
	constructor(onChange) {
		this.items = [];
		this.used = 0; // the highest id that was used, as far as this tab knows
		this._changed = onChange;
		this._order = Promise.resolve();
		this._opened = open();
		this._opened.catch(() => {});
		this._load();
		watch(OUT, (isCleared) => {
			if (isCleared) this.items.forEach((item) => item.id && !item.said && this.change(item, {}));
			this._load();
			onChange();
		});
	}

	_load() {
		const stored = new Map();
		for (const item of all(OUT)) if (item?.id && item.text) stored.set(item.id, item);
		// Known texts stay the same objects: one may be being sent. One that is no longer stored was sent by another tab.
		this.items = this.items.filter((item) => item.said || !item.stored || stored.has(item.id));
		for (const item of this.items) {
			Object.assign(item, stored.get(item.id));
			stored.delete(item.id);
		}
		this.items.push(...stored.values());
		this.items.sort((one, other) => (one.id || Number.MAX_VALUE) - (other.id || Number.MAX_VALUE));
	}

	/** Add a text, which is shown at once. Texts keep the order of these calls. Fire with its id, when it can be sent. */
	add(text, to, after) {
		const item = { id: 0, text, to, after, at: Date.now() / 1000, own: true };
		this.items.push(item);
		this._changed();
		this._order = this._order.then(async () => {
			item.id = await this._nextId();
			if (this.items.includes(item)) this.change(item, {});
			return item.id;
		});
		return this._order;
	}

	/** Return the next id, which is higher than all that were used: of lower ones, the server knows the last 64. */
	async _nextId() {
		const known = () => Math.max(this.used, Number(get("last")) || 0);
		const counted = this._opened && (await Promise.race([countUp(this._opened, known()), pause(PATIENCE)]).catch(() => 0));
		if (!counted) this._opened = null; // it is not asked again
		set("last", (this.used = counted || known() + 1));
		return this.used;
	}

	/** Return the next text to send: any, or only one that was written in this tab. */
	next(any) {
		return this.items.find((item) => item.id && !item.said && !item.failed && (any || item.own));
	}

	change(item, what) {
		Object.assign(item, what);
		const { said, shown, own, ...rest } = item;
		item.stored = set(OUT + item.id, { ...rest, stored: true });
		this._changed();
	}

	said(item) {
		if (item.shown) return this.remove(item);
		item.said = true;
		set(OUT + item.id, null);
		setTimeout(() => this.remove(item), 3000); // no line comes if another tab sent it
		this._changed();
	}

	remove(item) {
		this.items = this.items.filter((one) => one !== item);
		set(OUT + item.id, null);
		this._changed();
	}

	/** Forget the texts that were sent and may have become this line, which was erased. */
	forget(line) {
		for (const item of this.items) if (item.text === line.text && item.after < line.number && item.tried) this.remove(item);
	}

	/** Match a line of one's own with its text. Before the answer the line may be an older one with the same words. */
	match(line) {
		const fits = (item) => item.text === line.text && item.after < line.number && !item.to === (line.kind === "said");
		const item = this.items.find((one) => fits(one) && !one.shown && !one.failed && (one.said || one.tried));
		if (item?.said) this.remove(item);
		else if (item) item.shown = true;
		this._changed();
	}
}
