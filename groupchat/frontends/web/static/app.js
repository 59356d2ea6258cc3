// The page: one seat in the group, its conversation, and the message that is being written.
//
// Lines have numbers, and are requested after the last one seen. Texts have ids, and wait in the outbox until the server
// has them. So nothing is lost or doubled by a reload, a broken connection or a restart.

import { ask, follow, hasKey, leave, pause, Refused, useKey, watchLate } from "./net.js";
import { Outbox } from "./outbox.js";
import { get, set } from "./store.js";
import { Tabs } from "./tabs.js";
import { $, bubble, Log, make, notice, put, style } from "./log.js";
import { command, erase, isSecret, menu } from "./operator.js";
import { closeSheet, question, Side, Uploads } from "./side.js";

const PAGE = 100; // lines of history in one request
const LONGEST_WAIT = 30; // seconds between two tries
const MOST_PASTED = 100; // lines: a member may say as many at once
// Not allowed in a text: control characters, line separators, bidirectional overrides.
const FORBIDDEN = /[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+/g;

const me = {}; // see GET /me
const mine = new Set([].concat(get("mine", []))); // the member ids that this browser had
const isOwn = (line) => mine.has(line.by);
const isAway = () => document.hidden;
const text = $("text");

let cursor = 0; // the number of the last line received
let connected = false;
let seated = false; // has been a member since the page was loaded
let stream = new AbortController(); // ends the session on this page: of the stream, or of listening to another tab
let listening = false; // to the tab that has the stream
let reason = ""; // why there is no connection
let knewPassword = false; // the server has just accepted it
let hurry = () => {}; // ends the pause before the next try
let unread = 0; // messages that came while the page was hidden
let fresh = 0; // messages that came while it was scrolled up
let expelled = ""; // why an operator removed us
let notification = null; // the last one
let to = null; // the recipient of a private message

const log = new Log(isOwn, older, () => refresh());
const outbox = new Outbox(showWaiting);
const side = new Side(me, () => refresh());
const uploads = new Uploads(me);
const tabs = new Tabs(() => stream.abort(), heard);

/** Call `act`; if the server refuses, call `onRefused` with the error. */
async function trying(act, onRefused) {
	try {
		return await act();
	} catch (error) {
		if (!(error instanceof Refused)) throw error;
		return onRefused(error);
	}
}

async function connect() {
	for (let failures = 0, wait = 0; ; failures++) {
		const session = async () => {
			if (!(await sit(seated && !get("left") && get("name")))) return false;
			await catchUp();
			if (!hasKey()) await tabs.start();
			stream = new AbortController();
			const { leads } = tabs;
			await (leads ? follow(cursor, stream.signal, opened, received) : listen(stream.signal));
			failures = 0;
			wait = leads === tabs.leads ? 0.5 : 0;
			return true;
		};
		const goesOn = await trying(session, (error) => {
			if (error.excluded) return showDoor("name", expelled || error.message);
			if (error.status === 401) return showDoor("password", knewPassword ? NO_COOKIE : "");
			if (error.status === 409) return showDoor("name", error.message);
			wait = Math.max(Math.min(LONGEST_WAIT, 2 ** failures / 2), error.after);
			if (error.status !== 403) trouble(error.passing ? "No connection." : error.message);
			return true;
		});
		connected = false;
		if (!goesOn) return;
		await rest(wait);
	}
}

/** Make an id for the next join, from all tabs: if the answer to a join is lost, the server knows its repeat by this. */
const nextId = () => set("join", crypto.getRandomValues(new Uint32Array(4)).join("-"));

/** Ask who we are; if nobody, join with `name`. Return false if the person has to do that. */
async function sit(name) {
	if (!/^[\d-]{16,}$/.test(get("join"))) nextId();
	const id = get("join"); // before asking: another tab may join meanwhile
	Object.assign(me, await ask("me"));
	knewPassword = false;
	put("group", put("door-title", me.group));
	$("attach").hidden = !me.files;
	refresh();
	if (!me.name && name) await join(name, id);
	if (!me.name) return showDoor("name", expelled);
	seated = true;
	expelled = "";
	outbox.used = Math.max(outbox.used, me.last_id);
	mine.add(me.id);
	set("mine", [...mine].slice(-50));
	named(me.name);
	showChat();
	return true;
}

/** Join. If the browser does not keep the cookie of the new seat, go on with its key as long as the page is open. */
async function join(name, id) {
	const { key, ...joined } = await ask("name", { name, id });
	Object.assign(me, await ask("me"));
	if (me.id !== joined.id && key) {
		useKey(key);
		tabs.stop();
		Object.assign(me, joined);
	}
	nextId();
	set("left", null);
	showUnkept();
}

function showUnkept() {
	const lost = [...(hasKey() ? ["your seat"] : []), ...(set("kept", true) ? [] : ["drafts", "messages that wait"])];
	const words = `This browser keeps nothing for this page. If you close or reload it, you lose: ${lost.join(", ")}.`;
	if (!lost.length || $("unkept-text").textContent === words) return; // it is said once
	put("unkept-text", words);
	$("unkept").hidden = false;
}

$("unkept-close").onclick = () => ($("unkept").hidden = true);

/** Fetch what the stream does not send: at first the last lines, later those that came without a seat. */
async function catchUp() {
	const anew = me.head < cursor; // the server has an older state than this page saw, or none
	if (anew) log.clear();
	if (!log.lines.length) {
		const { lines, first, head } = await ask(`history?limit=${PAGE}`);
		cursor = head;
		log.append(lines);
		const text = "The server began anew: messages may be missing";
		if (anew) log.append([{ number: head, at: Date.now() / 1000, by: "0", name: "", kind: "server", text }]);
		lines.filter(isOwn).forEach((line) => outbox.match(line));
		showTop(first);
		log.toEnd();
		if ($("scroll").scrollHeight <= $("scroll").clientHeight) older();
		return;
	}
	for (let head = me.head; cursor < head; ) {
		const answer = await ask(`history?after=${cursor}&limit=${PAGE}`);
		take(answer.lines);
		head = answer.head;
		if (!answer.lines.length) cursor = head;
	}
}

function opened() {
	if (connected) return;
	connected = true;
	if (reason) speak("Connected again.");
	reason = "";
	$("banner").hidden = true;
	side.changed(true);
	tell();
	send();
}

const batch = [];

/** Forget what an operator erased, here and in the other tabs. */
function erased(what) {
	const gone = log.erase(what);
	gone.filter(isOwn).forEach((line) => outbox.forget(line));
	if (gone.length) {
		$("spoken").replaceChildren();
		notification?.close();
		side.changed(true);
		refresh();
	}
	if (tabs.leads) tabs.post({ is: "erased", what });
}

/** Take the lines that came, and give them to the other tabs. */
function flush() {
	const lines = batch.splice(0);
	if (!lines.length) return;
	tabs.post({ is: "lines", id: me.id, after: cursor, lines });
	take(lines);
}

function received(type, data) {
	if (type !== "message") flush();
	if (type === "stopping") trouble("The server is being stopped.");
	if (type === "gone") stream.abort();
	if (type === "removed") {
		expelled = JSON.parse(data);
		set("left", true); // so that no tab joins again
		stream.abort();
	}
	if (type === "erased") erased(JSON.parse(data));
	if (type !== "message") return;
	if (!batch.length) queueMicrotask(flush);
	batch.push(JSON.parse(data));
}

// With other tabs

/** Tell the other tabs how this one is connected, and up to which line it knows the conversation. */
const tell = () => tabs.leads && tabs.post({ is: "here", id: me.id, after: cursor, connected, reason });

/** Take lines from the tab that has the stream, until `signal` is aborted. */
async function listen(signal) {
	const over = new Promise((done) => (signal.onabort = done));
	listening = true;
	tabs.ask();
	await over;
	listening = false;
}

function heard({ is, id, after, lines, connected: isConnected, reason: why, what }) {
	if (is === "erased") erased(what);
	if (is === "who") tell();
	if (is === "hurry") hurry();
	if (is === "used") outbox.used = Math.max(outbox.used, id);
	if (!listening || !["here", "lines"].includes(is)) return;
	if (is === "here" && !isConnected) return why && trouble(why);
	if (id !== me.id || after > cursor) return stream.abort(); // to ask who we are, and for the lines between
	if (lines) take(lines);
	opened();
}

async function rest(seconds) {
	const until = performance.now() + seconds * 1000;
	let over = false;
	hurry = () => (over = true);
	for (let left; !over && (left = until - performance.now()) > 0; await pause(Math.min(left, 100)))
		put("when", `Trying again in ${Math.ceil(left / 1000)} s.`);
	put("when", "Trying again …");
	hurry = () => {};
}

function trouble(why) {
	connected = false;
	reason = why;
	warn(why);
	tell();
}

function warn(why, canHurry = true) {
	put("trouble", why);
	if (listening || !canHurry) put("when", "");
	$("now").hidden = !canHurry;
	$("banner").hidden = false;
	if ($("chat").hidden && $("door").hidden) showDoor("wait", why);
	else if (!canHurry && $("chat").hidden) put("door-why", why);
}

// A browser opens few connections to one server. While all are taken, a request waits, and nothing else would say so.
const LATE = "The server has not answered for some seconds. Is this page open in many tabs, or are many files on their way? Close some.";

watchLate((isLate) => {
	if (isLate) return reason || warn(LATE, false);
	$("banner").hidden = !reason;
	if (reason) warn(reason);
});

const hurryAll = () => {
	hurry();
	tabs.post({ is: "hurry" });
};

$("now").onclick = hurryAll;
addEventListener("online", hurryAll);
addEventListener("offline", () => stream.abort());
addEventListener("pagehide", () => {
	tabs.stop();
	if (hasKey() && me.name) leave();
});

// Receiving

function take(lines) {
	if (!lines.length) return;
	cursor = Math.max(cursor, lines.at(-1).number);
	const { stuck, last } = log;
	const taken = lines.filter((line) => line.number > last);
	const strange = taken.filter((line) => !isOwn(line));
	const others = strange.filter((line) => !notice(line));
	if (isAway() && !unread && others.length) log.mark(others[0].number);
	log.append(taken);
	for (const line of taken.filter(isOwn)) {
		outbox.match(line);
		if (line.kind === "renamed" && line.by === me.id) named(line.text);
	}
	if (taken.some((line) => notice(line) || line.kind === "shared")) side.changed(true);
	if (isAway()) unread += others.length;
	if (!stuck) fresh += others.length;
	refresh();
	if (strange.length > 5) speak(`${others.length} new messages`);
	else strange.forEach((line) => speak(inWords(line)));
	if (isAway() && others.length && tabs.leads) notify(others);
}

function inWords(line) {
	if (line.kind === "shared") return `${line.name} shared ${line.text}`;
	const words = notice(line);
	return words ? `${line.name} ${words}`.trim() : `${line.name}${line.kind === "private" ? ", privately" : ""}: ${line.text}`;
}

function speak(words) {
	$("spoken").append(make("p", { dir: "auto" }, words));
	if ($("spoken").childElementCount > 20) $("spoken").firstChild.remove();
}

let looking = false;

async function older() {
	if (looking || log.complete || !me.name) return;
	looking = true;
	put("top", "Loading …");
	const { lines, first } = await trying(() => ask(`history?before=${log.lines[0].number}&limit=${PAGE}`), () => ({}));
	looking = false;
	if (lines?.length) log.prepend(lines);
	else if (lines) log.complete = true;
	showTop(first);
}

function showTop(first) {
	log.complete ||= !log.lines.length || log.lines[0].number <= first;
	const begin = first > 1 ? "Older messages are no longer kept." : `This is where ${me.group} begins.`;
	put("top", log.complete ? begin : "");
}

function refresh() {
	if (log.stuck) fresh = 0;
	$("jump").hidden = log.stuck;
	put("fresh", fresh || "");
	$("topic").title = put("topic", me.topic ?? "");
	document.body.classList.toggle("operator", Boolean(me.operator));
	$("empty").hidden = outbox.items.length || log.lines.some((line) => !notice(line));
	document.title = (unread ? `(${unread}) ` : "") + me.group;
}

$("jump").onclick = () => {
	log.toEnd();
	text.focus();
};

document.addEventListener("visibilitychange", () => {
	if (isAway()) return log.mark(0);
	hurry();
	tabs.take();
	log.nameDays();
	unread = 0;
	refresh();
	side.changed();
});

setInterval(() => {
	log.nameDays();
	send(); // what a closed tab has left
}, 30_000);

const canNotify = "Notification" in window && isSecureContext;
const wantsNotices = () => canNotify && Notification.permission === "granted" && get("notify", false);

function notify(lines) {
	if (!wantsNotices()) return;
	const body = lines.length > 1 ? `${unread} new messages` : inWords(lines[0]);
	try {
		notification = new Notification(me.group, { body, tag: me.group, icon: "icon.svg" });
		notification.onclick = ({ target }) => {
			window.focus();
			target.close();
		};
	} catch {
		$("notify").hidden = true; // some phones allow them for installed pages only
	}
}

function showNotify() {
	$("notify").hidden = !canNotify || Notification.permission === "denied";
	$("notify").setAttribute("aria-pressed", wantsNotices());
}

$("notify").onclick = async () => {
	const wanted = !wantsNotices();
	if (wanted) await Notification.requestPermission();
	set("notify", wanted);
	showNotify();
};

// Sending

let sending = false;

async function send() {
	if (sending) return;
	sending = true;
	for (let item; connected && (item = outbox.next(tabs.leads)); ) if (isToSay(item)) await sendOne(item);
	sending = false;
}

async function sendOne(item) {
	outbox.change(item, { tried: me.id, since: me.since });
	const { text, to } = item;
	await trying(
		async () => {
			await ask("messages", { text, id: String(item.id), as: me.id, ...(to ? { to } : {}) });
			outbox.said(item);
		},
		async (error) => {
			if ([0, 401, 403].includes(error.status)) {
				connected = false;
				stream.abort(); // and connect again
			} else if (error.passing) await pause(Math.max(1, error.after) * 1000);
			else outbox.change(item, { failed: error.message });
		},
	);
}

/** Return true if a text is to be sent. One that was sent from a lost seat, without an answer, may have been said. */
function isToSay(item) {
	if (!item.tried || (item.tried === me.id && item.since === me.since)) return true;
	const said = log.lines.some((line) => line.number > item.after && line.by === item.tried && line.text === item.text);
	const seesAll = log.complete || log.lines[0]?.number <= item.after + 1;
	if (said) outbox.remove(item);
	else if (item.to || !seesAll) outbox.change(item, { failed: "The connection broke: perhaps it was sent after all." });
	else return true;
	return false;
}

function showWaiting() {
	const last = log.lines.at(-1);
	const goesOn = last && isOwn(last) && !notice(last);
	const rows = outbox.items
		.filter((item) => !item.shown)
		.map((item, index) => {
			const line = { ...item, kind: item.to ? "private" : "said", to_name: item.to };
			const row = make("li.own", {}, bubble(line, item.failed ? "fail" : item.said ? "sent" : "wait"));
			style(row, line, !index && !goesOn);
			if (item.failed) row.append(failure(item));
			return row;
		});
	$("waiting").replaceChildren(...rows);
	refresh();
}

function failure(item) {
	const again = make("button", {}, "Try again");
	const remove = make("button", {}, "Delete");
	remove.onclick = () => {
		text.focus();
		outbox.remove(item);
	};
	again.onclick = () => {
		remove.onclick();
		sendLater(item.text, item.to); // with a new id: the old one was refused
	};
	return make("div.failure", {}, make("span", { role: "alert" }, `Not sent. ${item.failed}`), again, remove);
}

/** Show a text as waiting, and send it in its turn. */
async function sendLater(text, to) {
	tabs.post({ is: "used", id: await outbox.add(text, to, cursor) });
	send();
}

function say(...texts) {
	const all = texts.map((one) => one.replace(FORBIDDEN, " ").trim()).filter(Boolean);
	log.mark(0);
	for (const one of all) {
		const doing = command(me, one);
		if (doing) tellOf(() => doing);
		else sendLater(one, to);
	}
	log.toEnd();
}

/** Show the answer to what an operator does, or why it is refused. */
async function tellOf(act) {
	const words = await trying(act, (error) => error.message);
	refresh();
	side.changed();
	text.focus();
	put("length", words);
}

addEventListener("beforeunload", (event) => outbox.items.some((item) => !item.stored && !item.said) && event.preventDefault());

// Writing

const size = (words) => new TextEncoder().encode(words).length;
let keeping = 0;

function written() {
	if (/[\r\n]/.test(text.value)) text.value = text.value.replace(/\s*[\r\n]+\s*/g, " ");
	text.style.height = "auto";
	text.style.height = `${text.scrollHeight}px`;
	const left = me.max_text - size(text.value.trim());
	put("length", left < 0 ? `${-left} bytes too long` : left < 300 ? `${left} bytes left` : "");
	$("send").disabled = left < 0 || !text.value.trim();
	clearTimeout(keeping);
	keeping = setTimeout(keepDraft, 200);
}

function keepDraft() {
	set("draft", { text: isSecret(text.value) ? "" : text.value, to });
}

addEventListener("pagehide", keepDraft);

function submit() {
	if ($("send").disabled) return;
	say(text.value);
	text.value = "";
	written();
	keepDraft();
	text.focus();
}

function insert(words) {
	text.focus();
	text.setRangeText(words, text.selectionStart, text.selectionEnd, "end");
	written();
}

$("say").onsubmit = (event) => {
	event.preventDefault();
	submit();
};
text.oninput = written;
text.onkeydown = (event) => {
	if (event.key === "Escape" && to) writeTo(null);
	if (event.key !== "Enter" || event.isComposing) return;
	event.preventDefault();
	if (!event.shiftKey) submit(); // a text is one line: Shift+Enter does nothing
};
text.addEventListener("beforeinput", (event) => {
	if (event.inputType !== "insertLineBreak" || event.isComposing) return;
	event.preventDefault(); // the Enter key of a phone, which some browsers do not report as a key
	submit();
});

function writeTo(name) {
	to = name;
	$("private").hidden = !name;
	put("private-to", name);
	text.setAttribute("aria-label", name ? `Private message to ${name}` : "Message");
	$("say").classList.toggle("private", Boolean(name));
	keepDraft();
	text.focus();
}

$("public").onclick = () => writeTo(null);

document.addEventListener("click", ({ target }) => {
	const { to: name, line } = target.closest("[data-to],[data-line]")?.dataset ?? {};
	if (!name && !line) return;
	closeSheet();
	if (line) tellOf(() => erase(me, log.lines.find(({ number }) => number === +line)));
	else if (!me.operator || name === me.name) writeTo(name);
	else
		tellOf(async () => {
			const answer = await menu(me, name, side.isMuted(name));
			return answer === "write" ? writeTo(name) : answer;
		});
});

// The menus of lines are one stop of the Tab key, behind the conversation: the arrow keys go from line to line.
const menus = () => [...document.querySelectorAll(".more")];

$("scroll").onfocus = () => menus().forEach((one, index, all) => (one.tabIndex = index === all.length - 1 ? 0 : -1));

$("log").onkeydown = (event) => {
	const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
	const all = menus();
	const at = all.indexOf(document.activeElement);
	if (!step || at < 0) return;
	event.preventDefault();
	all[at + step]?.focus();
};

// Pasting, dropping, choosing

const stamp = () => `pasted ${new Date().toISOString().slice(0, 19).replace("T", " ").replaceAll(":", ".")}`;

async function pasted(words) {
	const lines = words.split(/[\r\n\u2028\u2029]+/).filter((line) => line.trim());
	if (lines.length < 2) return insert(lines.join(""));
	const fits = lines.length <= MOST_PASTED && lines.every((line) => size(line) <= me.max_text);
	const answer = await question({
		title: `You pasted ${lines.length} lines`,
		text: `A message is one line. ${to ? `Messages are sent to ${to} at once, a file is sent` : "Messages and files are sent at once"} to everyone.`,
		buttons: {
			...(fits && { each: `Send ${lines.length} messages` }),
			...(me.files && { file: "Share as a text file" }),
			join: "Join into one line",
			cancel: "Cancel",
		},
	});
	text.focus();
	if (answer === "each") say(...lines);
	if (answer === "join") insert(lines.map((line) => line.trim()).join(" "));
	if (answer === "file") uploads.add([new File([words], `${stamp()}.txt`)]);
}

text.onpaste = (event) => {
	const words = event.clipboardData.getData("text/plain");
	const files = words || !me.files ? [] : [...event.clipboardData.files];
	if (!files.length && !/[\r\n\u2028\u2029]/.test(words)) return;
	event.preventDefault();
	if (files.length) share(files.map(renamed), true);
	else pasted(words);
};

// A picture from the clipboard is always called image.png.
const renamed = (file) => (/^image\.\w+$/.test(file.name) ? new File([file], file.name.replace("image", stamp())) : file);

async function share(files, unsure = false) {
	if (unsure || to) {
		const answer = await question({
			title: `Share ${files.length > 1 ? `${files.length} files` : files[0].name}?`,
			text: `Everyone in ${me.group} can download it${to ? `, not only ${to}` : ""}.`,
			buttons: { share: "Share", cancel: "Cancel" },
		});
		text.focus();
		if (answer !== "share") return;
	}
	uploads.add(files);
}

$("attach").onclick = () => $("file").click();
$("file").onchange = () => {
	share([...$("file").files]);
	$("file").value = "";
};

let depth = 0; // of the elements that the drag has entered
for (const type of ["dragenter", "dragleave", "dragover", "drop"])
	addEventListener(type, (event) => {
		const { types, files } = event.dataTransfer;
		if (!types.includes("Files")) return;
		event.preventDefault(); // or the browser would open the file instead of the page
		depth = { dragenter: depth + 1, dragleave: depth - 1, dragover: depth, drop: 0 }[type];
		const taken = me.files && !$("chat").hidden;
		$("drop").hidden = !taken || depth <= 0;
		if (type === "drop" && taken && files.length) share([...files]);
	});

// The door: the password, the name

const NO_COOKIE = "That is the password, but this browser does not keep the cookie that says so. Allow cookies for this page.";

const entry = $("entry");
const enter = $("enter-button");
let asked = "";

function showDoor(what, why = "") {
	const password = what === "password";
	asked = what;
	if (what !== "wait") tabs.stop();
	closeSheet();
	$("chat").hidden = true;
	$("door").hidden = false;
	for (const part of [entry, enter, $("entry-label")]) part.hidden = what === "wait";
	put("door-text", { password: "This group has a password.", name: "A group chat. Say who you are, and you are in." }[what]);
	put("entry-label", password ? "Password" : "Your name");
	enter.textContent = password ? "Continue" : "Join";
	entry.type = password ? "password" : "text";
	entry.autocomplete = password ? "current-password" : "nickname";
	entry.value = password ? "" : get("name", "");
	put("door-why", why);
	entry.focus();
	return false;
}

$("enter").onsubmit = async (event) => {
	event.preventDefault();
	const { value } = entry;
	if (!value.trim() || enter.disabled) return entry.focus();
	enter.disabled = true;
	await trying(
		async () => {
			put("door-why", "");
			await (asked === "password" ? ask("password", value) : sit(value.trim()));
			knewPassword = asked === "password";
			connect();
		},
		(error) => {
			if (error.status === 401) showDoor("password");
			put("door-why", error.message);
			entry.select();
		},
	);
	enter.disabled = false;
};

function named(name) {
	me.name = name;
	set("name", name);
	put("self", name);
}

function showChat() {
	if (!$("chat").hidden) return;
	showUnkept();
	$("door").hidden = true;
	$("chat").hidden = false;
	showNotify();
	written();
	text.focus();
}

$("rename").onclick = async () => {
	closeSheet();
	const check = async (name) => {
		if (name.trim() !== me.name) named((await ask("name", { name: name.trim(), as: me.id })).name);
	};
	await question({ title: "Change your name", input: me.name, buttons: { save: "Save", cancel: "Cancel" }, check });
	text.focus();
};

$("leave").onclick = async () => {
	closeSheet();
	const answer = await question({
		title: `Leave ${me.group}?`,
		text: "Others can then take your name. You can join again at any time.",
		buttons: { leave: "Leave", cancel: "Cancel" },
		check: async () => {
			set("left", true); // before the stream ends, so that no tab joins again
			await ask("leave", {}).catch((error) => {
				set("left", null);
				throw error;
			});
		},
	});
	if (answer !== "leave") return text.focus();
	outbox.items.forEach((item) => outbox.remove(item));
	writeTo(null);
	log.clear();
	cursor = 0;
	stream.abort();
};

const draft = get("draft");
text.value = draft?.text ?? "";
writeTo(draft?.to ?? null);
showWaiting();
connect();
