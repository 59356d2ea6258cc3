// Texts that are written and not yet sent. They survive reloads, and all tabs share them: each is an entry of localStorage,
// under an id that the server accepts once, whichever tab sends it. If that is full, they last as long as the page.

const GROUP = "groupchat.";
const OUT = "out.";

export function get(key, otherwise = null) {
	try {
		return JSON.parse(localStorage.getItem(GROUP + key)) ?? otherwise;
	} catch {
		return otherwise;
	}
}

/** Store a value; null removes it. Return false if that failed. */
export function set(key, value) {
	try {
		if (value === null) localStorage.removeItem(GROUP + key);
		else localStorage.setItem(GROUP + key, JSON.stringify(value));
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

/** Return the next id. It counts up, since the server remembers only the last 64, and starts from the time of day, so that
 * it grows even if the browser forgot the last one. The transaction keeps two tabs from taking the same id. */
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
 * `after`: the last line when it was written. `tried`: the member id under which it was sent, so that it may have been said.
 * `failed`: why it was refused. `said`: the server has it, and its line is to come. `shown`: a line like it has come.
 */
export class Outbox {
	constructor(onChange) {
		this.items = [];
		this._changed = onChange;
		this._order = Promise.resolve();
		this._load();
		addEventListener("storage", ({ key }) => {
			if (key && !key.startsWith(GROUP + OUT)) return;
			this._load();
			onChange();
		});
	}

	_load() {
		const stored = new Map();
		for (const key of Object.keys(localStorage)) {
			const item = key.startsWith(GROUP + OUT) && get(key.slice(GROUP.length));
			if (item) stored.set(item.id, item);
		}
		// Known texts stay the same objects: one may be being sent. One that is no longer stored was sent by another tab.
		this.items = this.items.filter((item) => item.said || !item.stored || stored.has(item.id));
		for (const item of this.items) {
			Object.assign(item, stored.get(item.id));
			stored.delete(item.id);
		}
		this.items.push(...stored.values());
		this.items.sort((one, other) => one.id - other.id);
	}

	/** Texts keep the order of these calls. */
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
		this.items = this.items.filter(({ id }) => id !== item.id);
		set(OUT + item.id, null);
		this._changed();
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
