// The custom element <import-progress-list>: a user's imports, to which new ones are added.
//
// Each bar keeps itself live. The list only requests regularly which bars there are.

const RUNNING_MS = 4000;
const IDLE_MS = 30000; // While no import of the list is running.
const MAX_MS = 120000; // After several failures.
const OVER = ["done", "failed", "cancelled", "gone"];
const HTML = "http://www.w3.org/1999/xhtml";
const SVG = "http://www.w3.org/2000/svg";

/** @typedef {[name: string, attributes: { [name: string]: string }, ...children: any[]]} JsonML */

class ImportProgressList extends HTMLElement {
  #timer = 0;
  #dueAt = 0;
  #expiresAt = Infinity;
  #failures = 0;
  #removed = new AbortController();

  connectedCallback() {
    this.#removed = new AbortController();
    const { signal } = this.#removed;
    document.addEventListener("visibilitychange", () => this.#wait(), { signal });
    this.#expiresAt = performance.now() + Number(this.dataset.seconds) * 1000;
    this.#refreshLater();
  }

  disconnectedCallback() {
    this.#removed.abort();
    clearTimeout(this.#timer);
  }

  #refreshLater() {
    const shortest = itemsOf(this).every(isOver) ? IDLE_MS : RUNNING_MS;
    const pause = Math.min(shortest * 2 ** this.#failures, MAX_MS);
    this.#waitFor(pause * (1 + Math.random() / 4));
  }

  /** @param {number} milliseconds */
  #waitFor(milliseconds) {
    this.#dueAt = performance.now() + milliseconds;
    this.#wait();
  }

  #wait() {
    clearTimeout(this.#timer);
    // Without a URL the list stays empty: it is an anonymous visitor's.
    if (document.hidden || !this.dataset.list || this.#dueAt > this.#expiresAt) return;
    this.#timer = setTimeout(() => this.#refresh(), this.#dueAt - performance.now());
  }

  async #refresh() {
    this.#waitFor(MAX_MS); // In case there is no response.
    const { signal } = this.#removed;
    const { list = "", etag } = this.dataset;
    // A redirect leads to a login page, which is not the list.
    const response = await fetch(list, {
      headers: etag ? { "If-None-Match": etag } : {},
      redirect: "manual",
      signal,
    }).catch(() => null);
    const found = response?.ok ? await response.json().catch(() => null) : null;
    if (signal.aborted) return;
    const items = Array.isArray(found?.items) ? found.items : null;
    this.#failures = items || response?.status === 304 ? 0 : this.#failures + 1;
    if (items) {
      this.dataset.etag = response?.headers.get("ETag") ?? "";
      this.#show(items.map((/** @type {JsonML} */ item) => build(item)));
    }
    for (const item of itemsOf(this)) if (item.dataset.unlisted && isOver(item)) item.remove();
    const none = this.querySelector(".import-progress-none");
    if (!this.#failures) none?.toggleAttribute("hidden", itemsOf(this).length > 0);
    this.#refreshLater();
  }

  /** @param {HTMLElement[]} found */
  #show(found) {
    const wanted = new Map(found.map((item) => [item.dataset.item, item]));
    for (const item of itemsOf(this)) {
      const current = wanted.get(item.dataset.item);
      wanted.delete(item.dataset.item);
      if (!current) item.dataset.unlisted = "true";
      else if (isOver(item) && !isOver(current)) item.replaceWith(current); // It runs again.
      else delete item.dataset.unlisted;
    }
    this.prepend(...wanted.values()); // The newest first.
  }
}

/**
 * @param {ParentNode} root
 * @returns {HTMLElement[]}
 */
const itemsOf = (root) => Array.from(root.querySelectorAll("[data-item]"));

/** @param {HTMLElement} item */
const isOver = (item) =>
  OVER.includes(item.querySelector("import-progress")?.getAttribute("data-status") ?? "");

/**
 * Build an element from JsonML. Trusted Types forbid to parse HTML.
 * @type {(element: JsonML, namespace?: string) => any}
 */
function build([name, attributes, ...children], namespace = HTML) {
  const own = name === "svg" ? SVG : namespace;
  const element = document.createElementNS(own, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  for (const child of children)
    element.append(typeof child === "string" ? child : build(child, own));
  return element;
}

customElements.get("import-progress-list") ??
  customElements.define("import-progress-list", ImportProgressList);
