// The conversation: a list of lines, some hundred of which have rows.

const MOST_ROWS = 300;
const STEP = 100; // rows added or removed at once
const NEAR = 900; // px from an end, where more rows are added
const MOST_LINES = 4000; // kept without rows; older ones are fetched again
const MOST_ERASED = 200;
const TOGETHER = 300; // seconds within which messages of one author are grouped

const SMALL = /^([\d.]+ k?B|\d\.\d MB)$/; // sizes of images that are shown
const IMAGE = /\.(png|jpe?g|gif|webp|avif)$/i;
const LINK = /https?:\/\/[^\s<>"'`]+/gi;
const EMOJI = /^(?:[\p{Extended_Pictographic}\p{Regional_Indicator}][\u200d\ufe0f\p{Emoji_Modifier}\p{Extended_Pictographic}\p{Regional_Indicator}]{0,9} ?){1,3}$/u;

export const $ = (id) => document.getElementById(id);
export const put = (id, words) => ($(id).textContent = words);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat("en", { weekday: "long", day: "numeric", month: "long" });
const day = (at, before = 0) => {
	const date = new Date(at * 1000);
	date.setDate(date.getDate() - before);
	return date.toDateString();
};
const time = (at) => clock.format(at * 1000);

function dayInWords(at) {
	const now = Date.now() / 1000;
	if (day(at) === day(now)) return "Today";
	return day(at) === day(now, 1) ? "Yesterday" : calendar.format(at * 1000);
}

/** Return a time, with the day if that is not today. */
export const moment = (at) => (day(at) === day(Date.now() / 1000) ? "" : `${dayInWords(at).replace("Yes", "yes")}, `) + time(at);

/** Return the words of a notice after the name; empty for other lines. */
export const notice = (line) =>
	({ joined: "has joined", left: "has left", renamed: `is now ${line.text}`, server: line.text.replace(/^\* /, "") })[line.kind] ?? "";

function coloured(element, name) {
	let hue = 0;
	for (const letter of name) hue = (hue * 31 + letter.codePointAt(0)) % 9973;
	element.style.setProperty("--hue", (hue % 24) * 15);
	return element;
}

// Elements. Data from the server becomes text in them, or a parsed address.

/** Return an element. `what` is its tag and classes, as in CSS. */
export function make(what, attributes = {}, ...children) {
	const [tag, ...classes] = what.split(".");
	const element = document.createElement(tag);
	element.className = classes.join(" ");
	for (const name in attributes) element.setAttribute(name, attributes[name]);
	element.append(...children);
	return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function icon(name) {
	const use = document.createElementNS(SVG, "use");
	use.setAttribute("href", `#i-${name}`);
	const svg = document.createElementNS(SVG, "svg");
	svg.setAttribute("viewBox", "0 0 24 24");
	svg.setAttribute("aria-hidden", true);
	svg.append(use);
	return svg;
}

document.querySelectorAll("[data-icon]").forEach((one) => one.prepend(icon(one.dataset.icon)));

const hidden = (words) => make("span.sr", {}, words);
export const bdi = (words) => make("bdi", {}, words);
export const face = (name) => coloured(make("span.face", { "aria-hidden": true }, [...name][0].toUpperCase()), name);

/** Return a link without the punctuation after it, and without the end of brackets around it. */
function trimmed(found) {
	let missing = found.split(")").length - found.split("(").length; // counted once, since it may be long
	let end = found.length;
	for (let last; (last = found[end - 1]), ".,;:!?*_~".includes(last) || (last === ")" && missing > 0); end--) if (last === ")") missing--;
	return found.slice(0, end);
}

function address(link) {
	try {
		const { protocol, href } = new URL(link);
		return /^https?:$/.test(protocol) && href;
	} catch {
		return "";
	}
}

function* parts(text) {
	let end = 0;
	for (const { 0: found, index } of text.matchAll(LINK)) {
		const link = trimmed(found);
		const href = address(link);
		if (!href) continue;
		yield text.slice(end, index);
		yield make("a", { href, rel: "noopener noreferrer", target: "_blank" }, link);
		end = index + link.length;
	}
	yield text.slice(end);
}

const fileAddress = (name) => `files/${encodeURIComponent(name)}`;

function picture({ text: name }) {
	const image = make("img", { src: fileAddress(name), alt: name, loading: "lazy" });
	const link = make("a.picture", { href: fileAddress(name), target: "_blank" }, image);
	image.onerror = () => link.remove();
	return link;
}

export function card(name, size) {
	const words = make("span.words", {}, bdi(name), make("small", {}, size));
	return make("a.card", { href: fileAddress(name), download: name }, icon("file"), words, icon("save"), hidden("Download"));
}

function body(line) {
	if (line.kind !== "shared") return [make("p.text", { dir: "auto" }, ...parts(line.text))];
	const shown = IMAGE.test(line.text) && SMALL.test(line.size);
	return [...(shown ? [picture(line)] : []), card(line.text, line.size)];
}

/** `state` is "sent", "wait" or "fail" for own messages, and empty for others. */
export function bubble(line, state) {
	const at = new Date(line.at * 1000);
	const meta = make("span.meta", {}, make("time", { datetime: at.toISOString(), title: at.toLocaleString() }, time(line.at)));
	if (state) meta.append(icon(state), hidden({ sent: "Sent", wait: "Waiting", fail: "Not sent" }[state]));
	const whom = !state ? ["Only to you"] : line.to_name ? ["Only to ", bdi(line.to_name)] : ["Private"];
	const head = line.kind === "private" ? [make("p.private", {}, icon("lock"), make("span", {}, ...whom))] : [];
	return make("div.bubble", {}, ...head, ...body(line), meta);
}

/** Set the style of a message's row. */
export function style(row, line, first) {
	row.classList.toggle("first", first);
	row.classList.toggle("private", line.kind === "private");
	row.classList.toggle("emoji", line.kind === "said" && line.text.length < 40 && EMOJI.test(line.text));
}

function author(line, own, first) {
	if (own || !first) return [hidden(own ? "You: " : `${line.name}: `)];
	const name = bdi(line.name);
	const who = line.by === "0" ? make("span.who", {}, name, make("small", {}, "guest")) : make("button.who", { tabindex: -1, "data-to": line.name }, name);
	return [face(line.name), coloured(who, line.name)];
}

const isErased = (line, { first, last, by }) => line.number >= first && line.number <= last && [null, line.by].includes(by) && !notice(line);

/** The lines in order. Those from `_from` to `_to` have rows. */
export class Log {
	constructor(isOwn, older, onMove) {
		this._erased = []; // the last erasures: lines that were asked for before may still come
		Object.assign(this, { _isOwn: isOwn, _older: older, _onMove: onMove });
		this._scroll = $("scroll");
		this._list = $("log");
		this._new = 0; // the number of the first line that came while the page was hidden
		this.clear();
		this._scroll.addEventListener("scroll", () => this._moved(), { passive: true });
		const watch = new ResizeObserver(() => this.stuck && this._toEnd());
		watch.observe(this._scroll);
		watch.observe($("inner"));
	}

	clear() {
		this.lines = [];
		this._erased = [];
		this.complete = false; // nothing is before the first line
		this.stuck = true; // to the newest line
		this._from = this._to = this._top = 0;
		this._list.replaceChildren();
	}

	get last() {
		return this.lines.at(-1)?.number ?? 0;
	}

	/** Add older lines. */
	prepend(lines) {
		const first = this.lines[0]?.number;
		const older = this._clean(lines.filter((line) => line.number < first));
		this.lines.unshift(...older);
		this._from += older.length;
		this._to += older.length;
		this._keep(() => {
			this._redraw(this._from);
			this._up();
		});
	}

	/** Add lines that are newer than the last. */
	append(lines) {
		const atEnd = this._to === this.lines.length;
		this.lines.push(...this._clean(lines));
		if (atEnd && this.stuck) this._showEnd();
		else if (atEnd && this._to - this._from < MOST_ROWS + STEP) this._down();
	}

	/** Put a notice in place of what was said or shared in the lines from `first` to `last`, by one member or by all.
	 * Return these lines as they were. */
	erase(what) {
		this._erased = [...this._erased, what].slice(-MOST_ERASED);
		const gone = this.lines.flatMap((line, index) => (isErased(line, what) ? [{ ...line, index }] : []));
		this._clean(gone.map(({ index }) => this.lines[index]));
		for (const { index } of gone) {
			this._redraw(index);
			this._redraw(index + 1);
		}
		return gone;
	}

	_clean(lines) {
		for (const line of lines)
			if (this._erased.some((what) => isErased(line, what)))
				Object.assign(line, { kind: "server", by: "0", name: "", text: "a line was removed" });
		return lines;
	}

	/** Name the days anew: after midnight, today is yesterday. */
	nameDays() {
		for (const one of this._list.querySelectorAll(".day")) {
			const words = dayInWords(one.dataset.at);
			if (one.textContent !== words) one.textContent = words;
		}
	}

	/** Draw "New" above this line; 0 removes it. */
	mark(number) {
		const old = this._new;
		this._new = number;
		for (const changed of [old, number]) this._redraw(this.lines.findIndex((line) => line.number === changed));
	}

	toEnd() {
		this.stuck = true;
		this._showEnd();
		this._onMove();
	}

	_row(index) {
		const line = this.lines[index];
		const before = this.lines[index - 1];
		const words = notice(line);
		const own = this._isOwn(line);
		const isNew = line.number === this._new;
		const newDay = !before || day(before.at) !== day(line.at);
		const row = make(words ? "li.notice" : own ? "li.own" : "li.other");
		if (newDay) row.append(make("div.day", { "data-at": line.at }, dayInWords(line.at)));
		if (isNew) row.append(make("div.new", {}, "New"));
		if (words) {
			row.append(line.name ? make("p", {}, bdi(line.name), " ", words) : make("p", { dir: "auto" }, ...parts(words)));
			return row;
		}
		const goesOn = !newDay && !isNew && before.by === line.by && before.name === line.name && !notice(before);
		const first = !goesOn || line.at - before.at > TOGETHER;
		style(row, line, first);
		const shown = bubble(line, own ? "sent" : "");
		shown.append(make("button.more", { tabindex: -1, "data-line": line.number, "aria-label": "Erase this line" }, "⋯"));
		row.append(...author(line, own, first), shown);
		return row;
	}

	_redraw(index) {
		if (index >= this._from && index < this._to) this._list.children[index - this._from].replaceWith(this._row(index));
	}

	_rows(from, to) {
		const rows = document.createDocumentFragment();
		for (let index = from; index < to; index++) rows.append(this._row(index));
		return rows;
	}

	_trim() {
		for (; this._to - this._from > MOST_ROWS; this._from++) this._list.firstChild.remove();
	}

	_up() {
		const from = Math.max(0, this._from - STEP);
		this._list.prepend(this._rows(from, this._from));
		this._from = from;
		for (; this._to - from > MOST_ROWS; this._to--) this._list.lastChild.remove();
	}

	_down() {
		const to = Math.min(this.lines.length, this._to + STEP);
		this._list.append(this._rows(this._to, to));
		this._to = to;
	}

	_showEnd() {
		if (this.lines.length - this._to > STEP) {
			this._list.replaceChildren();
			this._from = this._to = this.lines.length - STEP;
		}
		this._down();
		this._trim();
		if (this._from > MOST_LINES) {
			this.lines.splice(0, this._from);
			this._to -= this._from;
			this._from = 0;
			this.complete = false;
		}
		this._toEnd();
	}

	_toEnd() {
		this._scroll.scrollTop = this._scroll.scrollHeight;
	}

	/** Change rows without moving those in view. */
	_keep(change) {
		const bottom = (row) => row.lastChild.getBoundingClientRect().bottom;
		const top = this._scroll.getBoundingClientRect().top;
		const rows = [...this._list.children];
		const seen = rows.findIndex((row) => bottom(row) > top);
		const was = seen < 0 ? 0 : bottom(rows[seen]);
		const index = this._from + seen;
		change();
		const now = this._list.children[index - this._from];
		if (seen >= 0 && now) this._scroll.scrollTop += bottom(now) - was;
	}

	_moved() {
		const { scrollTop, scrollHeight, clientHeight } = this._scroll;
		const left = scrollHeight - clientHeight - scrollTop;
		const below = this.lines.length - this._to;
		// It stays stuck when the field below grows: only scrolling up ends that.
		this.stuck = !below && (left < 40 || (this.stuck && scrollTop >= this._top));
		this._top = scrollTop;
		if (scrollTop < NEAR && this._from) this._keep(() => this._up());
		else if (scrollTop < NEAR && this.lines.length) this._older();
		if (left < NEAR && below)
			this._keep(() => {
				this._down();
				this._trim();
			});
		this._onMove();
	}
}
