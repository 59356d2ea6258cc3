// What operators do: commands, written as on the lines; the menu of a name; and the question before a line is erased.

import { ask } from "./net.js";
import { question } from "./side.js";

// The server refuses such a text, too: with blanks or slashes before it, it would tell everybody a password.
const SECRET = /^[\s/\p{C}]*\/operator(?!\w)\s*(.*)/isu;
const COMMAND = /^\/(topic|remove|mute|unmute|ban|unban|erase)(?!\w)\s*(.*)/is;
const TIMES = { hour: "1h", day: "1d", good: "" };
const WHY = "Why? You need not say it. The member is told.";

export const isSecret = (words) => SECRET.test(words);

const moderate = async (me, line, why = {}) => (await ask("moderation", { line, as: me.id, ...why })).text;

/** Do what a typed line asks for. Return the answer, or a promise of it; null if the line is a text. */
export function command(me, words) {
	const password = SECRET.exec(words)?.[1].trim();
	if (password !== undefined) return password ? become(me, password) : "Write /operator PASSWORD, or /operator off.";
	const [, verb, rest] = COMMAND.exec(words) ?? [];
	if (!verb) return null;
	if (verb.toLowerCase() === "topic" && !rest) return me.topic ? `The topic is: ${me.topic}` : "There is no topic.";
	return moderate(me, `/${verb.toLowerCase()} ${rest}`);
}

async function become(me, password) {
	const wanted = password.toLowerCase() !== "off";
	await (wanted ? ask("operator", { password, as: me.id }) : ask("operator", undefined, "DELETE"));
	me.operator = wanted;
	return wanted ? "You are an operator now: names and lines have a menu." : "You are no operator now.";
}

/** Show the menu of a name. Return "write" if that was chosen, or else the answer to what was done. */
export async function menu(me, name, isMuted) {
	const mute = isMuted ? { unmute: "Unmute" } : { mute: "Mute" };
	const buttons = { write: "Write privately", ...mute, remove: "Remove", ban: "Ban", cancel: "Cancel" };
	const chosen = await question({ title: name, buttons });
	let answer = "";
	const check = async (why, button) => {
		const time = chosen === "ban" ? TIMES[button] : "";
		answer = await moderate(me, `/${chosen} ${name}${chosen === "unmute" ? "" : ":"} ${time}`, why.trim() && { why: why.trim() });
	};
	const next = {
		mute: { title: `Mute ${name}?`, text: `${name} can read, and not write. ${WHY}`, buttons: { mute: "Mute" } },
		remove: { title: `Remove ${name}?`, text: `${name} can come back after 10 minutes. ${WHY}`, buttons: { remove: "Remove" } },
		ban: {
			title: `Ban ${name}?`,
			text: `${name} cannot come back, and nobody can take the name. ${WHY}`,
			buttons: { hour: "For an hour", day: "For a day", good: "For good" },
		},
	}[chosen];
	if (chosen === "unmute") await check("");
	if (next) await question({ ...next, buttons: { ...next.buttons, cancel: "Cancel" }, input: "", check });
	return chosen === "write" ? chosen : answer;
}

/** Ask if a line is to be erased, and erase it. Return the answer. */
export async function erase(me, { number, name, text }) {
	const title = `Erase what ${name} ${text.length > 200 ? "wrote" : `wrote: ${text}`}?`;
	const words = "Everybody sees that a line was removed. It cannot be brought back.";
	const answer = await question({ title, text: words, buttons: { erase: "Erase", cancel: "Cancel" } });
	return answer === "erase" ? moderate(me, `/erase ${number}`) : "";
}
