// The event stream: one EventSource, watched, reopened by us, resumed by the last event's id.
//
// An EventSource that meets an HTTP error closes for good, and one whose peer died without a word never says so. Hence a
// watchdog: when nothing came for a while the server is asked, and when it does not answer the line counts as lost.
// A hidden page gives its connection back after a while, because a browser allows six to one server.

const RETRY_MS = [500, 1000, 2000, 4000, 8000];
const QUIET_MS = 20000;
const ANSWER_MS = 5000;
const HIDDEN_MS = 60000;
const LEAVING_MS = 3000;

export class Stream {
  // on.event(kind, data), on.state("connecting" | "on" | "lost"), on.resumed() after a gap. keepHidden(): stay on in the background.
  constructor(url, kinds, on, keepHidden) {
    Object.assign(this, { url, kinds, on, keepHidden });
    this.lastId = "";
    this.tries = 0;
    this.everOpen = false;
    this.state = "";
    document.addEventListener("visibilitychange", () => this.#visibility());
    addEventListener("online", () => this.#reopen(0));
    addEventListener("offline", () => this.#lost());
    addEventListener("beforeunload", () => (this.leaving = Date.now()));
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => event.persisted && this.open());
    setInterval(() => this.#watch(), ANSWER_MS);
  }

  open() {
    this.#close();
    if (this.state === "") this.#say("connecting");
    const resume = this.lastId ? `?last_event_id=${encodeURIComponent(this.lastId)}` : "";
    const source = new EventSource(this.url + resume);
    this.source = source;
    this.heard = Date.now();
    source.onopen = () => {
      this.heard = Date.now();
      this.tries = 0;
      this.#say("on");
      if (this.everOpen) this.on.resumed();
      this.everOpen = true;
    };
    source.onerror = () => {
      // Leaving a page ends its requests before the page: that is no lost line.
      if (this.source !== source || Date.now() - (this.leaving ?? 0) < LEAVING_MS) return;
      this.#reopen(RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)], true);
    };
    for (const kind of this.kinds) {
      source.addEventListener(kind, (event) => {
        this.heard = Date.now();
        if (event.lastEventId) this.lastId = event.lastEventId;
        this.on.event(kind, JSON.parse(event.data));
      });
    }
  }

  #say(state) {
    if (state !== this.state) this.on.state((this.state = state));
  }

  #close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = undefined;
  }

  #lost() {
    this.#close();
    this.#say("lost");
  }

  // Half of the delay is random, so that a hundred consoles do not come back in one instant.
  #reopen(delay, failed = false) {
    this.#close();
    if (failed) {
      this.#say("lost");
      this.on.failed?.();
    }
    this.timer = setTimeout(() => this.open(), delay / 2 + (Math.random() * delay) / 2);
  }

  async #watch() {
    if (!this.source || this.state !== "on" || this.asking || Date.now() - this.heard < QUIET_MS) return;
    this.asking = true;
    const source = this.source;
    try {
      const answer = await fetch("/healthz", { signal: AbortSignal.timeout(ANSWER_MS), cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      this.heard = Date.now();
    } catch {
      if (this.source === source) this.#reopen(RETRY_MS[0], true);
    } finally {
      this.asking = false;
    }
  }

  #visibility() {
    clearTimeout(this.hiding);
    if (document.hidden) {
      if (!this.keepHidden()) this.hiding = setTimeout(() => this.#lost(), HIDDEN_MS);
    } else if (!this.source) {
      this.#reopen(0);
    }
  }
}
