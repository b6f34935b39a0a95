// The one connection of a site's bars: of a page's, that is not hidden, and of all tabs'.

const GATHER_MS = 50;

/** Return how a bar joins, which returns how it leaves. */
export function connect(modules) {
  const shared = new Map();
  let isShown = !document.hidden;

  const open = (at) => {
    const bars = new Set();
    const tell = (type, id, value) => {
      for (const bar of [...bars]) if (bar.job === id) bar.tell(type, value);
    };
    const tabs = new Tabs(at, modules, tell);
    const change = (isNew) => {
      const jobs = isShown ? [...bars].map(({ job, reference }) => [job, reference]) : [];
      tabs.want(new Map(jobs), isNew);
    };
    return { bars, change };
  };

  const turn = (isOn) => {
    if (isShown === isOn) return;
    isShown = isOn;
    for (const { bars, change } of shared.values()) {
      change(true);
      for (const bar of [...bars]) bar.tell("shown", isOn);
    }
  };
  addEventListener("visibilitychange", () => turn(!document.hidden), true);
  // So that the page may enter the back/forward cache.
  addEventListener("pagehide", () => turn(false));
  addEventListener("pageshow", () => turn(!document.hidden));

  return ({ dataset: { job, stream, websocket, transport } }, tell) => {
    const url = new URL(stream, document.baseURI); // …/jobs/<reference>/stream/
    const base = new URL("../../../", url).href;
    const key = `import-progress ${base} ${transport}`;
    if (!shared.has(key)) shared.set(key, open({ key, base, websocket, transport }));
    const { bars, change } = shared.get(key);
    const bar = { job, reference: url.pathname.split("/").at(-3), tell };
    bars.add(bar);
    change(true);
    if (!isShown) tell("shown", false);
    return () => bars.delete(bar) && change(false);
  };
}

/** One tab leads: it has the connection, and passes on what it hears. */
class Tabs {
  #id = Math.random();
  #mine = new Map();
  #others = new Map();
  #left;
  #channel;
  #ladders;
  #lead;
  #name;
  #tell;
  #timer;
  #isNew = false;

  constructor(at, { Ladders, ends, ...ways }, tell) {
    this.#name = at.key;
    this.#tell = tell;
    this.#lead = () =>
      new Ladders(at, ways, ends, (...event) => {
        const [type, id, value] = event;
        if (ends(type, value)) for (const jobs of this.#all) jobs.delete(id);
        this.#channel?.postMessage({ event });
        tell(...event);
      });
  }

  want(jobs, isNew) {
    this.#mine = jobs;
    if (this.#ladders) this.#later(isNew);
    else this.#say(isNew);
    if (!jobs.size) this.#leave();
    else if (!this.#left) this.#enter();
  }

  #enter() {
    const { signal } = (this.#left = new AbortController());
    const until = new Promise((leave) => signal.addEventListener("abort", leave));
    if (!navigator.locks) return this.#take(); // Without HTTPS each leads itself.
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#say(true);
    const held = () => (signal.aborted || this.#take(), until);
    // Free as soon as its tab has left, or died.
    navigator.locks.request(this.#name, { signal }, held).catch(() => {});
  }

  #leave() {
    this.#left?.abort();
    this.#channel?.close();
    this.#ladders?.close();
    clearTimeout(this.#timer);
    this.#left = this.#channel = this.#ladders = null;
    this.#others.clear();
  }

  #take() {
    this.#ladders = this.#lead();
    this.#channel?.postMessage({ isAsking: true });
    this.#later(true);
  }

  #say(isNew) {
    this.#channel?.postMessage({ tab: this.#id, jobs: this.#mine, isNew });
  }

  #hear({ event, isAsking, tab, jobs, isNew }) {
    if (event) this.#tell(...event);
    else if (isAsking) this.#say(true);
    else if (this.#ladders) {
      this.#others.set(tab, jobs);
      this.#later(isNew);
    }
  }

  get #all() {
    return [...this.#others.values(), this.#mine];
  }

  #later(isNew) {
    this.#isNew ||= isNew;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#ladders.watch(new Map(this.#all.flatMap((jobs) => [...jobs])), this.#isNew);
      this.#isNew = false;
    }, GATHER_MS);
  }
}
