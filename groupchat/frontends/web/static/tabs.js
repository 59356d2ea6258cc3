// One tab has the stream of lines for all tabs of the browser, and leads. Over HTTP/1.1 a browser opens six connections to
// a host: with six streams, nothing could be sent any more.
//
// In a secure context a Web Lock says which tab leads. Without TLS there are no locks: then each claim has a number, and
// the highest one leads. In both cases a tab that becomes visible takes the lead, and the tab that leads is asked now and
// then if it is alive. It answers in the handler of the message, since the timers of a hidden tab run once a minute.

const NAME = "groupchat.stream";
const EVERY = 10_000; // ms between two questions
const PATIENCE = 2_000; // ms for the answer

export class Tabs {
	/** `onLead` is called when this tab begins to lead or ends, `onMessage` with a message from another tab. */
	constructor(onLead, onMessage) {
		Object.assign(this, { leads: true, _onLead: onLead, _onMessage: onMessage, _channel: null, _highest: 0 });
	}

	/** Share a stream with other tabs. Until then, and if the browser cannot do that, this tab leads. */
	async start() {
		if (this._channel) return;
		try {
			this._channel = new BroadcastChannel(NAME);
		} catch {
			return;
		}
		this._channel.onmessage = ({ data }) => this._heard(data);
		this._over = new AbortController();
		this._locks = navigator.locks;
		this._claimed = 0;
		this._timer = setInterval(() => this.ask(), EVERY);
		this.leads = false;
		if (this._locks) this._queue();
		if (!document.hidden) await this.take();
	}

	/** Have a stream of one's own again, or none. */
	stop() {
		if (!this._channel) return;
		if (this.leads) this.post({ is: "free" });
		this._channel.close();
		this._channel = null;
		this._over.abort();
		clearInterval(this._timer);
		clearTimeout(this._late);
		this.leads = true;
	}

	post(message) {
		this._channel?.postMessage(message);
	}

	/** Take the lead from whichever tab has it. */
	async take() {
		if (this.leads) return;
		if (this._locks) await new Promise((done) => this._lock({ steal: true }, done).catch(() => this._set(false)).then(done));
		else this._claim();
	}

	/** Ask the tab that leads for its state, and take the lead if there is no answer. */
	ask() {
		if (this.leads) return;
		this.post({ is: "who" });
		clearTimeout(this._late);
		this._late = setTimeout(() => this.take(), PATIENCE);
	}

	_set(leads) {
		if (this.leads === leads || !this._channel) return;
		this.leads = leads;
		clearTimeout(this._late);
		this._onLead();
	}

	async _lock(options, onGranted = () => {}) {
		const { signal } = this._over;
		await this._locks.request(NAME, options, () => {
			if (signal.aborted) return null;
			this._set(true);
			onGranted();
			return new Promise((free) => signal.addEventListener("abort", free));
		});
	}

	/** Wait for the lock. If it is granted, and another tab steals it, wait again. */
	async _queue() {
		const { signal } = this._over;
		while (!signal.aborted && this._locks)
			await this._lock({ signal }).catch((error) => {
				if (error.name === "AbortError") return this._set(false);
				this._locks = null; // they are denied
				return this.ask();
			});
	}

	_claim() {
		this._claimed = this._highest = Math.max(Date.now(), this._highest) + 1 + Math.random();
		this._assert();
		this._set(true);
	}

	_heard(message) {
		const { is, number } = message;
		if (is === "claim") {
			this._highest = Math.max(this._highest, number);
			if (this._claimed < number) this._set(false);
			else if (this.leads) this._assert();
		} else if (is === "free") {
			if (document.hidden) this.ask();
			else if (!this._locks) this.take();
		} else {
			const leads = is === "here" || is === "lines";
			if (leads) clearTimeout(this._late);
			if (leads && this.leads && !this._locks) this._assert(); // one of the two has missed a claim
			this._onMessage(message);
		}
	}

	_assert() {
		this.post({ is: "claim", number: this._claimed });
	}
}
