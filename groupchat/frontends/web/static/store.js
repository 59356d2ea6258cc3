// Values that outlive the page, in localStorage. If the browser denies it, or it is full, they last as long as the page.

const PREFIX = "groupchat.";
const unstored = new Map();

function attempt(act) {
	try {
		return act(localStorage);
	} catch {
		return null;
	}
}

export function get(key, otherwise = null) {
	return unstored.get(key) ?? attempt((storage) => JSON.parse(storage.getItem(PREFIX + key))) ?? otherwise;
}

/** Keep a value; null removes it. Return true if it is stored. */
export function set(key, value) {
	const stored = attempt((storage) => {
		if (value === null) storage.removeItem(PREFIX + key);
		else storage.setItem(PREFIX + key, JSON.stringify(value));
		return true;
	});
	if (stored || value === null) unstored.delete(key);
	else unstored.set(key, value);
	return Boolean(stored);
}

/** Return the stored values whose keys begin with this. */
export function all(start) {
	const keys = attempt(Object.keys) ?? [];
	return keys.filter((key) => key.startsWith(PREFIX + start)).map((key) => get(key.slice(PREFIX.length)));
}

/** Call this when another tab has changed a value whose key begins with `start`, with true if it removed all values. */
export function watch(start, onChange) {
	addEventListener("storage", ({ key }) => (!key || key.startsWith(PREFIX + start)) && onChange(!key));
}
