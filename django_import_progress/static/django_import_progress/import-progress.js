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

class ImportProgress extends HTMLElement {
  static observedAttributes = ["data-stream"];
  #state;
  #leave;

  constructor() {
    super();
    const named = ({ target }) => target.closest("[data-do]")?.dataset.do;
    this.addEventListener("click", (event) => this.#do(named(event)));
    this.addEventListener("keydown", ({ key }) => key === "Escape" && this.#do("keep"));
  }

  connectedCallback() {
    this.#state = begin(this.dataset, this.#part("progress"));
    this.#offer();
    if (!this.#state.isOver) this.#leave = join(this, (...event) => this.#hear(...event));
  }

  disconnectedCallback() {
    this.#leave?.();
    this.#leave = null;
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
    this.#state = reduce(this.#state, type, value, JSON.parse(texts), label);
    this.#show(this.#state);
    if (type === "job") this.#tell("change", value);
    if (!this.#state.isOver || !this.#leave) return;
    this.disconnectedCallback();
    this.#tell("end", value);
  }

  #show({ status, notice, percent, parts }) {
    this.dataset.status = status;
    if (notice) this.dataset.notice = notice;
    else delete this.dataset.notice;
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
