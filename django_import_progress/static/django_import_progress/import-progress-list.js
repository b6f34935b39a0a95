// The custom element <import-progress-list>: a user's imports, to which new ones are added.
//
// Each bar keeps itself live. The list only requests regularly which bars there are.

const EVERY_MS = 4000;
const OVER = ["done", "failed", "cancelled", "gone"];

class ImportProgressList extends HTMLElement {
  #timer = 0;
  #removed = new AbortController();

  connectedCallback() {
    this.#removed = new AbortController();
    const { signal } = this.#removed;
    document.addEventListener("visibilitychange", () => this.#refresh(), { signal });
    this.#refreshIn(EVERY_MS);
  }

  disconnectedCallback() {
    this.#removed.abort();
    clearTimeout(this.#timer);
  }

  /** @param {number} milliseconds */
  #refreshIn(milliseconds) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#refresh(), milliseconds * (1 + Math.random() / 4));
  }

  async #refresh() {
    clearTimeout(this.#timer);
    if (document.hidden) return; // Refreshed as soon as it is shown.
    const response = await fetch(this.dataset.list ?? "").catch(() => null);
    if (response?.status === 404 || !this.isConnected) return; // The viewer has logged out.
    if (response?.ok) response.text().then((html) => this.#show(html), () => {});
    this.#refreshIn(response?.ok ? EVERY_MS : EVERY_MS * 4);
  }

  /** @param {string} html */
  #show(html) {
    // Parsed in a document of its own, where nothing is run or loaded.
    const found = itemsOf(new DOMParser().parseFromString(html, "text/html"));
    const wanted = new Map(found.map((item) => [item.dataset.item, item]));
    for (const item of itemsOf(this)) {
      const status = item.querySelector("import-progress")?.getAttribute("data-status") ?? "";
      if (!wanted.delete(item.dataset.item) && OVER.includes(status)) item.remove();
    }
    this.prepend(...wanted.values()); // The newest first.
    const none = this.querySelector(".import-progress-none");
    none?.toggleAttribute("hidden", itemsOf(this).length > 0);
  }
}

/**
 * @param {ParentNode} root
 * @returns {HTMLElement[]}
 */
const itemsOf = (root) => Array.from(root.querySelectorAll("[data-item]"));

customElements.get("import-progress-list") ??
  customElements.define("import-progress-list", ImportProgressList);
