// The custom element <import-progress>: keeps one job's bar live over Server-Sent Events.
//
// It listens on `data-stream` and shows each representation it is sent; every one is whole, so the
// newest is all that counts. Text goes into the page as text, never as HTML.

const TERMINAL = new Set(["done", "failed", "cancelled"]);
const FIRST_RETRY_MS = 2000;
const LONGEST_RETRY_MS = 30000;

const PLAIN = {
  statuses: {},
  percent: "{percent}%",
  rows: "{processed}",
  rows_of: "{processed} / {total}",
  rows_over: "{processed} / {total}",
  expired: "expired",
};

/** Fill a pattern's `{name}`s with numbers in the reader's format. */
function fill(pattern, numbers, format) {
  return pattern.replace(/\{(\w+)\}/g, (_, name) => format.format(numbers[name]));
}

class ImportProgress extends HTMLElement {
  #source = null;
  #isGone = false;
  #timer = 0;
  #failures = 0;
  #pageEvents = null;

  connectedCallback() {
    this.#pageEvents = new AbortController();
    const { signal } = this.#pageEvents;
    // An open stream would keep the page out of the back/forward cache.
    addEventListener("pagehide", () => this.#disconnect(), { signal });
    addEventListener("pageshow", (event) => event.persisted && this.#connect(), { signal });
    this.#connect();
  }

  disconnectedCallback() {
    this.#pageEvents.abort();
    this.#disconnect();
  }

  get #ended() {
    return this.#isGone || TERMINAL.has(this.dataset.status);
  }

  #connect() {
    this.#disconnect();
    if (this.#ended) return;
    const source = new EventSource(this.dataset.stream);
    source.onopen = () => (this.#failures = 0);
    source.onmessage = (event) => this.#show(JSON.parse(event.data));
    source.addEventListener("gone", (event) => this.#gone(JSON.parse(event.data)));
    source.onerror = () => this.#retry(source);
    this.#source = source;
  }

  #disconnect() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  /** A broken connection is mended by the browser; after a refusal (4xx, 5xx) it gives up. */
  #retry(source) {
    if (source.readyState !== EventSource.CLOSED) return;
    const longest = Math.min(FIRST_RETRY_MS * 2 ** this.#failures++, LONGEST_RETRY_MS);
    this.#disconnect();
    this.#timer = setTimeout(() => this.#connect(), longest * (0.5 + Math.random() / 2));
    this.#poll();
  }

  /** Where there is no room for a stream, the snapshot is asked for each time one is refused. */
  async #poll() {
    const url = new URL("..", new URL(this.dataset.stream, document.baseURI));
    const answer = await fetch(url).catch(() => null); // null: there is no network.
    const job = answer?.ok ? await answer.json().catch(() => null) : null;
    if (this.#source || this.#ended || !this.isConnected) return; // Something newer came meanwhile.
    if (job) this.#show(job);
    // The page's right to watch has expired, as a ticket does; a new page brings a new one.
    else if (answer?.status === 404) this.#text("status", this.#texts().expired);
  }

  #show(job) {
    const texts = this.#texts();
    const status = typeof job.status === "string" && job.status ? job.status : "waiting";
    this.dataset.status = status;
    this.#bar(job.percent);
    this.#text("status", Object.hasOwn(texts.statuses, status) ? texts.statuses[status] : status);
    this.#text("stage", job.stage);
    this.#text("error", job.error_message);
    this.#text("percent", this.#percentText(job, texts));
    this.#text("rows", this.#rowsText(job, texts));
    this.#tell("change", job);
    if (this.#ended) this.#end(job);
  }

  #gone(job) {
    this.#isGone = true;
    this.dataset.status = "gone";
    this.#text("status", this.#texts().statuses.gone ?? "gone");
    this.#end(job);
  }

  #end(job) {
    this.#disconnect();
    this.#tell("end", job);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(`import-progress:${type}`, { bubbles: true, detail }));
  }

  /** The texts come with the page, in its language. An overridden template may leave them out. */
  #texts() {
    const script = this.querySelector('script[type="application/json"]');
    return script ? JSON.parse(script.textContent) : PLAIN;
  }

  get #format() {
    try {
      return new Intl.NumberFormat(this.closest("[lang]")?.lang || undefined);
    } catch {
      return new Intl.NumberFormat(); // A `lang` that is no language tag.
    }
  }

  #bar(percent) {
    const bar = this.querySelector("progress");
    if (!bar) return;
    if (percent === null) bar.removeAttribute("value");
    else bar.value = percent;
  }

  #percentText({ percent }, texts) {
    if (percent === null) return "";
    return fill(texts.percent, { percent: Math.floor(percent) }, this.#format);
  }

  #rowsText({ processed_rows: processed, total_rows: total }, texts) {
    if (typeof processed !== "number") return "";
    const known = processed > total ? texts.rows_over : texts.rows_of;
    const pattern = typeof total === "number" ? known : texts.rows;
    return fill(pattern, { processed, total }, this.#format);
  }

  /** An overridden template may leave a part out. */
  #text(part, value) {
    const element = this.querySelector(`[data-show="${part}"]`);
    if (element) element.textContent = value ?? "";
  }
}

if (!customElements.get("import-progress")) customElements.define("import-progress", ImportProgress);
