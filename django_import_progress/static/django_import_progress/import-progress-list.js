// The custom element <import-progress-list>: somebody's imports, to which new ones are added.
//
// Its bars keep themselves live. What it asks for, now and then, is which bars there are.

const EVERY_MS = 4000;
const OVER = ["done", "failed", "cancelled", "gone"];

class ImportProgressList extends HTMLElement {
  #timer;
  #turned;

  connectedCallback() {
    this.#turned = new AbortController();
    const { signal } = this.#turned;
    document.addEventListener("visibilitychange", () => this.#ask(), { signal });
    this.#later(EVERY_MS);
  }

  disconnectedCallback() {
    this.#turned.abort();
    clearTimeout(this.#timer);
  }

  #later(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), wait * (1 + Math.random() / 4));
  }

  async #ask() {
    clearTimeout(this.#timer);
    if (document.hidden) return; // Asked again as soon as it is shown.
    const answer = await fetch(this.dataset.list).catch(() => null);
    if (answer?.status === 404 || !this.isConnected) return; // The page may not ask any more.
    if (answer?.ok) answer.text().then((html) => this.#show(html), () => {});
    this.#later(answer?.ok ? EVERY_MS : EVERY_MS * 4);
  }

  #show(html) {
    // Parsed in a document of its own, where nothing is run or loaded.
    const found = new DOMParser().parseFromString(html, "text/html").querySelectorAll("[data-item]");
    const wanted = new Map([...found].map((item) => [item.dataset.item, item]));
    for (const item of this.querySelectorAll("[data-item]")) {
      const status = item.querySelector("import-progress")?.dataset.status;
      if (!wanted.delete(item.dataset.item) && OVER.includes(status)) item.remove();
    }
    this.prepend(...wanted.values()); // New ones, the newest first as they came.
    const none = this.querySelector(".import-progress-none");
    if (none) none.hidden = this.querySelector("[data-item]") !== null;
  }
}

customElements.get("import-progress-list") ??
  customElements.define("import-progress-list", ImportProgressList);
