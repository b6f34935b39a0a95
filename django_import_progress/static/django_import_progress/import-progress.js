// The custom element <import-progress>: one job's bar.

/** By the page's links: a storage that renames files does not look into scripts. */
const load = (name) =>
  import(
    document.querySelector(`link[data-import-progress="${name}"]`)?.href ??
      new URL(`./${name}.js`, import.meta.url)
  );
const names = ["reducer", "connection", "ladder", "transports"];
const modules = Object.assign({}, ...(await Promise.all(names.map(load))));
const { begin, reduce, connect } = modules;
const join = connect(modules);

const TICK_MS = 15000;
const LONGEST_MS = 2 ** 31 - 1; // Of a timer.

/** Time that counts only while it runs. */
class Countdown {
  #left;
  #then;
  #since = null;
  #timer;

  constructor(milliseconds, then) {
    this.#left = milliseconds;
    this.#then = then;
  }

  run(isOn) {
    if (isOn === (this.#since !== null)) return;
    clearTimeout(this.#timer);
    if (isOn) this.#timer = setTimeout(this.#then, Math.min(this.#left, LONGEST_MS));
    else this.#left -= performance.now() - this.#since;
    this.#since = isOn ? performance.now() : null;
  }
}

class ImportProgress extends HTMLElement {
  static observedAttributes = ["data-stream"];
  #state;
  #leave;
  #missing;
  #tick;

  constructor() {
    super();
    const named = ({ target }) => target.closest("[data-do]")?.dataset.do;
    this.addEventListener("click", (event) => this.#do(named(event)));
    this.addEventListener("keydown", ({ key }) => key === "Escape" && this.#do("keep"));
  }

  connectedCallback() {
    this.#state = begin(this.dataset, this.#part("progress"), performance.now());
    this.#offer();
    const { job, waitingSeconds } = this.dataset;
    const never = () => this.#hear("missing", { job_id: job });
    this.#missing = waitingSeconds && new Countdown(waitingSeconds * 1000, never);
    if (!this.#state.isOver) this.#leave = join(this, (...event) => this.#hear(...event));
    this.#run();
  }

  disconnectedCallback() {
    this.#leave?.();
    this.#leave = null;
    this.#run();
  }

  /** What morphs a page may make another job's bar of this one. */
  attributeChangedCallback() {
    if (!this.#state) return;
    this.disconnectedCallback();
    if (this.isConnected) this.connectedCallback();
  }

  #hear(type, value) {
    const texts = this.#part('script[type="application/json"]')?.textContent ?? "{}";
    const label = this.getAttribute("aria-label") ?? "";
    this.#state = reduce(this.#state, type, value, JSON.parse(texts), label, performance.now());
    this.#show(this.#state);
    this.#run();
    if (type === "job") this.#tell("change", value);
    if (!this.#state.isOver || !this.#leave) return;
    this.disconnectedCallback();
    this.#tell("end", value);
  }

  /** What goes on by the mere passing of time, while the page is shown. */
  #run() {
    const { status, isOffline, isHidden, since } = this.#state;
    const isLive = Boolean(this.#leave) && !isHidden;
    this.#missing?.run(isLive && !isOffline && status === "waiting");
    clearTimeout(this.#tick);
    if (isLive && since !== null) this.#tick = setTimeout(() => this.#hear("tick"), TICK_MS);
  }

  #show({ status, notice, waited, percent, parts }) {
    this.dataset.status = status;
    const noted = { notice: notice || null, waited: waited === null ? null : Math.floor(waited) };
    for (const [name, value] of Object.entries(noted)) {
      if (value === null) delete this.dataset[name];
      else this.dataset[name] = value;
    }
    const bar = this.#part("progress");
    if (percent === null) bar?.removeAttribute("value");
    else if (bar) bar.value = percent;
    // A template may leave parts out.
    if (!this.#part("[data-show=notice]")) parts.status = parts.notice || parts.status;
    for (const name in parts) {
      const part = this.#part(`[data-show=${name}]`);
      if (part && part.textContent !== parts[name]) part.textContent = parts[name];
    }
    this.#offer();
  }

  #offer() {
    const [button, question] = this.#buttons;
    if (!button) return;
    const hadFocus = this.contains(document.activeElement);
    if (!this.#state.canCancel) question.hidden = true;
    button.hidden = !this.#state.canCancel || !question.hidden;
    if (!hadFocus || document.activeElement.checkVisibility?.() !== false) return;
    this.tabIndex = -1; // Else the focus would be lost.
    this.focus();
  }

  #do(what) {
    const [button, question] = this.#buttons;
    if (what === "cancel") this.#cancel(question.dataset.csrf);
    if (!what || !question || (what === "keep" && question.hidden)) return;
    question.hidden = what !== "ask";
    this.#offer();
    if (what === "ask") this.#part("[data-do=keep]").focus();
    if (what === "keep") button.focus();
  }

  async #cancel(token) {
    this.#hear("asking", true);
    const url = new URL("../cancel/", new URL(this.dataset.stream, document.baseURI));
    const headers = { "X-CSRFToken": token };
    const answer = await fetch(url, { method: "POST", headers }).catch(() => null);
    // The stream tells the rest, and may have told the end by now, as 409 does.
    if (!answer?.ok && answer?.status !== 409 && !this.#state.isOver) this.#hear("refused");
  }

  get #buttons() {
    return [this.#part("[data-do=ask]"), this.#part("[data-csrf]")];
  }

  #part(selector) {
    return this.querySelector(selector);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(`import-progress:${type}`, { bubbles: true, detail }));
  }
}

customElements.get("import-progress") ?? customElements.define("import-progress", ImportProgress);
