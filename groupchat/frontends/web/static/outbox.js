// What was written and is not said yet. It outlives reloads, and is shared by all tabs: each text is an entry of localStorage,
// under an id that the server does once, whichever tab sends it.

const PREFIX = "groupchat.out.";

// localStorage may be full: then what was written lasts as long as the page.

export function get(key, otherwise = null) {
	try {
		return JSON.parse(localStorage.getItem(key)) ?? otherwise;
	} catch {
		return otherwise;
	}
}

/** Whether it is kept; null removes it. */
export function set(key, value) {
	try {
		if (value === null) localStorage.removeItem(key);
		else localStorage.setItem(key, JSON.stringify(value));
		return true;
	} catch {
		return false;
	}
}

const opened = new Promise((done) => {
	const asking = indexedDB.open("groupchat");
	asking.onupgradeneeded = () => asking.result.createObjectStore("ids");
	asking.onsuccess = () => done(asking.result);
	asking.onerror = () => done(null);
});
let last = 0;

/** The next id: counted up, since the server knows the last 64 only; from the time of day, so that it is higher when the
 * browser forgot the last; in a transaction, since of two tabs with one id one would lose its text. */
async function nextId() {
	const db = await opened;
	const id = new Promise((done, fail) => {
		const transaction = db.transaction("ids", "readwrite");
		const ids = transaction.objectStore("ids");
		let id;
		const found = ids.get("last");
		found.onsuccess = () => ids.put((id = (found.result || Date.now()) + 1), "last");
		transaction.oncomplete = () => done(id);
		transaction.onabort = fail;
	});
	return id.catch(() => (last = (last || Date.now()) + 1));
}

/** The texts that wait, oldest first: {id, text, to, at, after, tried, failed, said, shown}.
 *
 * `after`: the last line when it was written. `tried`: the member id under which it was sent, and may have been said.
 * `failed`: why it was refused. `said`: the server has it, and it waits for its line. `shown`: that seems to have come.
 */
export class Outbox {
	constructor(onChange) {
		this.items = [];
		this._changed = onChange;
		this._order = Promise.resolve();
		this._load();
		addEventListener("storage", ({ key }) => {
			if (key && !key.startsWith(PREFIX)) return;
			this._load();
			onChange();
		});
	}

	_load() {
		const stored = new Map();
		for (const key of Object.keys(localStorage)) {
			const item = key.startsWith(PREFIX) && get(key);
			if (item) stored.set(item.id, item);
		}
		// Known ones stay the same objects: one may be on its way. What is stored no longer, another tab has sent.
		this.items = this.items.filter((item) => item.said || !item.stored || stored.has(item.id));
		for (const item of this.items) {
			Object.assign(item, stored.get(item.id));
			stored.delete(item.id);
		}
		this.items.push(...stored.values());
		this.items.sort((one, other) => one.id - other.id);
	}

	/** Texts keep the order in which this was called. */
	add(text, to, after) {
		this._order = this._order.then(async () => {
			const item = { id: await nextId(), text, to, after, at: Date.now() / 1000 };
			this.items.push(item);
			this.change(item, {});
		});
		return this._order;
	}

	next() {
		return this.items.find((item) => !item.said && !item.failed);
	}

	change(item, what) {
		Object.assign(item, what);
		const { said, shown, ...rest } = item;
		item.stored = set(PREFIX + item.id, { ...rest, stored: true });
		this._changed();
	}

	/** The server has it. */
	said(item) {
		if (item.shown) return this.remove(item);
		item.said = true;
		set(PREFIX + item.id, null);
		setTimeout(() => this.remove(item), 3000); // its line came before another tab sent it
		this._changed();
	}

	remove(item) {
		this.items = this.items.filter(({ id }) => id !== item.id);
		set(PREFIX + item.id, null);
		this._changed();
	}

	/** One's own line has come; or, before the answer, an older one that reads the same: only the answer ends the waiting. */
	match(line) {
		const fits = (item) => item.text === line.text && item.after < line.number && !item.to === (line.kind === "said");
		const item = this.items.find((one) => fits(one) && !one.shown && !one.failed && (one.said || one.tried));
		if (item?.said) this.remove(item);
		else if (item) item.shown = true;
		this._changed();
	}
}
