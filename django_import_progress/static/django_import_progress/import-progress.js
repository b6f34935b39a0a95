// The custom element <import-progress>: the live bar of one job. It has no dependencies.
//
// Sections: text and state; transports; fallback; tabs; the element.

/**
 * @import {
 *   Close, EventType, Handlers, Job, Jobs, Names, NotifyBar, NotifyJob, NumberFormat, Options,
 *   Shown, State, Texts, Transport
 * } from "./types.d.ts"
 */

// Text and state: the same rules as widget/text.py

const MAX_TIME_LEFT_S = 3 * 86400; // A longer forecast would be a guess.
const UNSTARTED_S = 60;
/** @type {[unit: string, atLeast: number, seconds: number, counts?: number][]} */
const WAIT_UNITS = [
  ["days", 172800, 86400],
  ["hours", 3600, 3600],
  ["minutes", 60, 60],
  ["seconds", 15, 15, 15], // In steps.
];

/** @type {(value: unknown) => value is number} */
const isNumber = (value) => typeof value === "number";
/** @param {unknown} value May be text, as which Django encodes a `Decimal`. */
const asNumber = (value) =>
  typeof value === "string" && /^-?\d{1,15}(\.\d{1,15})?(E[+-]?\d)?$/.test(value)
    ? Number(value)
    : value;
const SEPARATOR = " · ";
/** @type {(value: any) => string} */
const asText = (value) =>
  Object(value) === value
    ? Object.entries(value)
        .map(([name, item]) => (Array.isArray(value) ? "" : `${name}: `) + asText(item))
        .join(SEPARATOR)
    : String(value ?? "");
/** @param {string[]} texts */
const join = (texts) => texts.map((text) => text.replaceAll(" ", "\xa0")).join(SEPARATOR);
/** @param {unknown} percent */
const quarter = (percent) => Math.floor(Number(percent) / 25);
/** @param {any} status */
const isTerminal = (status) => ["done", "failed", "cancelled"].includes(status);

/** @type {(type: EventType, value: any) => boolean} */
const isFinal = (type, value) =>
  type === "gone" || type === "missing" || (type === "job" && isTerminal(value.status));

/** @type {(isOver: boolean, notice?: string) => boolean} */
const mayCancel = (isOver, notice) => !isOver && notice !== "expired" && notice !== "cancelling";

/**
 * The state of a bar as the page was rendered; `at`: milliseconds of a monotonic clock.
 * @type {(dataset: DOMStringMap, bar: HTMLProgressElement | null, at: number) => State}
 */
export function initialState({ status = "", notice, waited }, bar, at) {
  const isOver = isTerminal(status) || status === "gone";
  const percent = bar && bar.position >= 0 ? bar.value : null;
  const since = waited === undefined ? null : at - Number(waited) * 1000;
  const isAnnounced = notice === "unstarted";
  return { status, percent, since, isAnnounced, isOver, canCancel: mayCancel(isOver, notice) };
}

/**
 * The state of a bar after an event.
 * @type {(before: State, type: EventType, value: any, texts: Texts, label: string, at: number) =>
 *   Shown}
 */
export function reduce(before, type, value, texts, label, at) {
  const now = { ...before, ...EFFECTS[type](value, before, at), isOver: isFinal(type, value) };
  const { job, status, percent, isOver } = now;
  const waited = isNumber(now.since) ? (at - now.since) / 1000 : null;
  const notice = isOver ? "" : noticeOf(now, waited);
  const parts = job ? partsOf(job, texts) : {};
  if (notice || isOver) parts.pace = "";
  if (isTerminal(status)) parts.pace = timeEnded(job, texts);
  if (isNumber(percent))
    parts.percent = fill(texts.percent, { percent: Math.floor(percent) });
  parts.status = (now.isMissing && texts.missing) || named(texts.statuses, status);
  parts.waited = waited === null ? "" : timeWaited(waited, texts);
  parts.notice = named(texts.notices, notice);
  let news = isOver ? [parts.status, parts.error].filter(Boolean).join(". ") : "";
  if (!isOver && before.job && quarter(percent) > quarter(before.percent)) news = parts.percent;
  if (notice === "unstarted" && !now.isAnnounced) {
    news = parts.notice;
    now.isAnnounced = true;
  }
  parts.news = news && fill(texts.news, { label, news });
  return { ...now, waited, notice, parts, canCancel: mayCancel(isOver, notice) };
}

/** @type {Record<EventType, (value: any, before: State, at: number) => Partial<State>>} */
const EFFECTS = {
  job: (job, before, at) => ({
    job,
    status: typeof job.status === "string" && job.status ? job.status : "waiting",
    percent: job.percent,
    ...waitOf(job, before, at),
    isOffline: false,
    isExpired: false,
    isCancelling: false,
  }),
  gone: () => ({ status: "gone", since: null }),
  missing: () => ({ status: "gone", isMissing: true }),
  offline: (isOffline) => ({ isOffline }),
  shown: (isShown) => ({ isHidden: !isShown }),
  tick: () => ({}),
  // A job with the status waiting may just not exist yet.
  expired: (_, { status }) => ({ isExpired: status !== "waiting" }),
  cancelling: () => ({ isCancelling: true, isRefused: false }),
  refused: () => ({ isCancelling: false, isRefused: true }),
};

/**
 * Since when the job has been queued: at first by the page, later since the change was received.
 * @type {(job: Job, before: State, at: number) => Partial<State>}
 */
function waitOf({ status }, before, at) {
  if (status !== "queued") return { since: null, isAnnounced: false };
  return before.status === "queued" ? {} : { since: at };
}

/** @type {(state: State, waited: number | null) => string} */
function noticeOf({ job, isExpired, isOffline, isRefused, isCancelling }, waited) {
  if (isExpired) return "expired";
  if (isOffline) return "offline";
  if (isRefused) return "refused";
  if (job?.stalled) return "stalled";
  if (isCancelling || job?.cancelling) return "cancelling";
  return Number(waited) >= UNSTARTED_S ? "unstarted" : "";
}

/** @type {(job: Job, texts: Texts) => Names} */
function partsOf(job, texts) {
  const names = ["processed_rows", "total_rows", "rows_per_second", "eta_seconds"];
  const [processed, total, rate, seconds] = names.map((name) => asNumber(job[name]));
  /** @type {(name: string, count: unknown) => string[]} */
  const counted = (name, count) =>
    isNumber(count) && count > 0 ? [plural(texts, name, count, { count })] : [];
  const counts = (texts.counters ?? []).flatMap((name) => counted(name, asNumber(job[name])));
  const digits = Number(rate) < 9.95 ? 10 : 1;
  const pace = counted("rate", isNumber(rate) && Math.round(rate * digits) / digits);
  if (isNumber(seconds) && seconds > 0 && seconds <= MAX_TIME_LEFT_S)
    pace.push(timeLeft(seconds, texts));
  let rows = "";
  if (isNumber(processed)) {
    if (!isNumber(total)) rows = plural(texts, "rows", processed, { processed });
    else {
      const [name, count] = processed > total ? ["rows_over", processed] : ["rows_of", total];
      rows = plural(texts, name, count, { processed, total });
    }
  }
  return {
    stage: asText(job.stage),
    percent: "",
    rows,
    counts: join(counts),
    pace: join(pace),
    error: asText(job.error_message),
  };
}

/** @param {any} job @param {any} texts */
function timeEnded(job, { ended, took, offset }) {
  const end = Date.parse(job.ended_at || job.updated_at);
  const all = end - Date.parse(job.started_at);
  const time = new Date(end + offset).toJSON()?.slice(0, 16).replace("T", " ");
  const duration = Math.floor(all / 36e5) + new Date(all).toJSON()?.slice(13, 19);
  return time ? fill(all >= 0 ? took : ended, { time, duration }) : "";
}

/**
 * Up to 60 seconds or minutes, then hours and minutes.
 * @type {(seconds: number, texts: Texts) => string}
 */
function timeLeft(seconds, texts) {
  /** @type {(name: string, count: number, more?: object) => string} */
  const format = (name, count, more) => plural(texts, name, count, { count, ...more });
  if (seconds <= 60) return format("seconds", Math.ceil(seconds));
  const all = Math.ceil(seconds / 60);
  if (seconds <= 3600) return format("minutes", all);
  const [hours, rest] = [Math.floor(all / 60), all % 60];
  return rest
    ? format("hours_and", hours, { minutes: format("and_minutes", rest) })
    : format("hours", hours);
}

/** @type {(seconds: number, texts: Texts) => string} */
function timeWaited(seconds, texts) {
  const units = WAIT_UNITS.find(([, atLeast]) => seconds >= atLeast);
  const [unit, , size, counts = 1] = units ?? ["", 0, 1];
  const count = Math.floor(seconds / size) * counts;
  return unit && plural(texts, `waited_${unit}`, count, { count });
}

/**
 * A rule has the form's number for 0 to 199 and for a million: see widget/phrases.py.
 * @type {(texts: Texts, name: string, number: number, values: object) => string}
 */
function plural(texts, name, number, values) {
  const [rule, ...forms] = texts.plurals?.[name] ?? [0];
  const count = Math.abs(Math.ceil(number));
  const sample = count < 200 ? count : count % 1e6 ? 100 + (count % 100) : 200;
  return fill(forms[Number(texts.rules?.[rule][sample])], values, texts);
}

/** @type {(names: Names | undefined, name: string) => string} */
const named = (names, name) => (names && Object.hasOwn(names, name) ? names[name] : name);

/** @type {(pattern: string | undefined, values: any, format?: NumberFormat) => string} */
function fill(pattern, values, { decimal = ".", separator = "", groups = "$^" } = {}) {
  /** @param {string | number} value */
  const text = (value) => {
    if (!isNumber(value)) return value;
    const [whole, fraction] = String(value).split(".");
    return whole.replace(new RegExp(groups, "g"), separator) + (fraction ? decimal + fraction : "");
  };
  const filled = pattern?.replace(/\{(\w+)\}/g, (_, name) => text(values[name]));
  return filled ?? Object.values(values).join(" / ");
}

// Transports

const MAX_JOBS = 100; // In one stream.
const MAX_QUERY = 7800; // nginx accepts request lines of 8 KiB.
const AND = "&job=";
const POLL_MS = 2000;
const MAX_POLL_MS = 8000; // At most ten seconds with jitter.
const MAX_SILENT_POLL_MS = 30000;

/** @type {Transport} */
function sse({ base }, jobs, { job, gone, open, fail }) {
  const references = [...jobs.values()];
  const several = `stream/?job=${references.join(AND)}`;
  const source = new EventSource(
    base + (references.length > 1 ? several : `jobs/${references}/stream/`)
  );
  source.onopen = () => open(true);
  source.onmessage = ({ data }) => job(JSON.parse(data));
  source.addEventListener("gone", ({ data }) => gone(JSON.parse(data)));
  source.addEventListener("end", () => {
    source.close();
    fail();
  });
  source.onerror = () => {
    // The browser reconnects, unless it has given up.
    if (source.readyState === EventSource.CLOSED) fail();
    else open(false);
  };
  return () => source.close();
}

/** @type {Transport} */
function websocket(options, jobs, { job, gone, expired, open, fail }) {
  const url = new URL(String(options.websocket), document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  socket.onopen = () => {
    for (const name of jobs.values()) socket.send(JSON.stringify({ action: "watch", job: name }));
    open(true);
  };
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    // Every representation has `percent`; error messages do not.
    if ("percent" in message) job(message);
    else if (message.gone) gone(message);
    else expired(message.job);
  };
  socket.onclose = fail;
  return () => {
    socket.onmessage = socket.onclose = null;
    socket.close();
  };
}

/**
 * One request after the other, so that one connection is enough.
 * @type {(options: Options, jobs: Jobs, handlers: Omit<Handlers, "fail">) => Close}
 */
function polling({ base }, jobs, { job, gone, expired, open }) {
  const stop = new AbortController();
  /** @type {Map<string, number>} How often a job that was found has been absent since. */
  const absences = new Map();
  let pause = POLL_MS;
  let timer = 0;

  /** @type {(id: string, reference: string) => Promise<unknown>} */
  async function request(id, reference) {
    const response = await fetch(`${base}jobs/${reference}/`, stop).catch(() => null);
    const found = response?.ok ? await response.json().catch(() => null) : null;
    if (stop.signal.aborted) return;
    if (found) absences.set(id, 0);
    if (found) job(found);
    if (response?.status !== 404) return found && 200;
    // Gone if absent twice in a row: Redis may have been emptied just now.
    const count = absences.get(id);
    if (count === undefined) expired(reference);
    else absences.set(id, count + 1);
    if (count) gone({ job_id: id });
    return 404;
  }

  async function poll() {
    const statuses = [];
    for (const [id, reference] of [...jobs]) statuses.push(await request(id, reference));
    if (stop.signal.aborted) return;
    const isOpen = statuses.some(Boolean);
    open(isOpen);
    const longest = isOpen ? MAX_POLL_MS : MAX_SILENT_POLL_MS;
    pause = statuses.includes(200) ? POLL_MS : Math.min(pause * 2, longest);
    timer = setTimeout(poll, pause * (0.75 + Math.random() / 2));
  }

  poll();
  return () => {
    clearTimeout(timer);
    stop.abort();
  };
}

/**
 * Split jobs, so that one stream can be requested for each batch.
 * @param {Jobs} jobs
 */
function batchesOf(jobs) {
  /** @type {Jobs[]} */
  const batches = [];
  let length = Infinity;
  for (const [id, reference] of jobs) {
    length += AND.length + reference.length;
    if (length > MAX_QUERY || batches.at(-1)?.size === MAX_JOBS) {
      batches.push(new Map());
      length = AND.length + reference.length;
    }
    batches.at(-1)?.set(id, reference);
  }
  return batches;
}

// Fallback from one transport to the next

/** @type {{ [transport: string]: Transport }} */
const STREAMS = { sse, websocket };
const MAX_STREAMS = 2;
const RETRY_MS = 1000;
const MAX_RETRY_MS = 30000;
const STREAM_TIMEOUT_MS = 5000;
const OFFLINE_MS = 3000;
const CHECK_MS = 5000;
const SILENCE_MS = 60000; // After sleep, the connection may be dead without an error.

const nothing = () => {};

/**
 * Keep jobs live over one connection, by the best transport that works.
 * @type {(options: Options, jobs: Jobs, notify: NotifyJob) => Close}
 */
function connect(options, jobs, notify) {
  const { transport } = options;
  const all = options.websocket ? [sse, websocket] : [sse];
  const streams = transport ? [STREAMS[transport]] : all;
  const canPoll = !transport || transport === "polling";
  /** @type {{ [name: string]: number }} */
  const timers = {};
  let stopStream = nothing;
  let stopPolling = nothing;
  let isStreaming = false;
  let isPolling = false; // Successfully.
  /** @type {boolean | null} */
  let isOffline = null;
  let failures = 0;
  let receivedAt = 0;

  /** @type {(name: string, milliseconds: number, then: () => void) => void} */
  function start(name, milliseconds, then) {
    stop(name);
    timers[name] = setTimeout(() => {
      timers[name] = 0;
      then();
    }, milliseconds);
  }

  /** @param {string} name */
  function stop(name) {
    clearTimeout(timers[name]);
    timers[name] = 0;
  }

  function open() {
    close();
    receivedAt = Date.now();
    checkSilence();
    checkOffline();
    openStream();
  }

  function close() {
    closeStream();
    closePolling();
    for (const name in timers) stop(name);
  }

  function checkSilence() {
    if (Date.now() - receivedAt > SILENCE_MS) open();
    else start("silence", CHECK_MS, checkSilence);
  }

  function checkOffline() {
    /** @param {boolean} value */
    const set = (value) => {
      if (isOffline === value) return;
      isOffline = value;
      for (const id of [...jobs.keys()]) notify("offline", id, value);
    };
    if (isStreaming || isPolling) {
      stop("offline");
      set(false);
    } else if (!timers.offline) start("offline", OFFLINE_MS, () => set(true));
  }

  function openStream() {
    const openTransport = streams[failures % streams.length];
    if (!openTransport) return poll();
    const limit = () => start("timeout", STREAM_TIMEOUT_MS, poll);
    limit();
    stopStream = openTransport(options, jobs, {
      ...handlers(() => {
        failures = 0;
        stop("timeout");
        closePolling();
      }),
      open: (isOpen) => {
        isStreaming = isOpen;
        checkOffline();
        if (!isOpen && !timers.timeout) limit();
      },
      fail: () => {
        closeStream();
        checkOffline();
        if (++failures >= streams.length) poll();
        const longest = Math.min(RETRY_MS * 2 ** (failures - 1), MAX_RETRY_MS);
        start("retry", longest * (0.5 + Math.random() / 2), openStream);
      },
    });
  }

  function closeStream() {
    stopStream();
    stopStream = nothing;
    isStreaming = false;
  }

  /** Poll in addition to the stream, until the stream works. */
  function poll() {
    if (!canPoll || stopPolling !== nothing) return;
    const { expired, ...others } = handlers(nothing);
    stopPolling = polling(options, jobs, {
      ...others,
      // While a stream is open, the job may just not exist yet.
      expired: (reference) => isStreaming || expired(reference),
      open: (isOpen) => {
        isPolling = isOpen;
        checkOffline();
      },
    });
  }

  function closePolling() {
    stopPolling();
    stopPolling = nothing;
    isPolling = false;
  }

  /** @type {(onReceived: Close) => Omit<Handlers, "open" | "fail">} */
  function handlers(onReceived) {
    /** @type {NotifyJob} */
    const receive = (type, id, value) => {
      onReceived();
      receivedAt = Date.now();
      if (isFinal(type, value)) jobs.delete(id);
      notify(type, id, value);
      if (!jobs.size) close();
    };
    /** @param {string} reference */
    const expired = (reference) => {
      for (const [id, name] of jobs) if (name === reference) receive("expired", id);
    };
    return {
      job: (job) => receive("job", job.job_id, job),
      gone(job) {
        const id = job.job_id; // The reference if the viewer is not authorized.
        if (jobs.has(id)) receive("gone", id, job);
        else expired(id);
      },
      expired,
    };
  }

  open();
  return close;
}

/**
 * Two streams at most; jobs that don't fit into them are polled.
 * @param {Options} options
 * @param {NotifyJob} notify
 */
function createConnections(options, notify) {
  /** @type {Jobs} */
  let watched = new Map();
  /** @type {Close[]} */
  let closes = [];
  let isFull = false;

  const close = () => closes.forEach((end) => end());

  /** @type {NotifyJob} */
  const receive = (type, id, value) => {
    notify(type, id, value);
    if (!isFinal(type, value)) return;
    watched.delete(id);
    // Jobs that were polled may fit into a stream now.
    if (isFull && batchesOf(watched).length <= MAX_STREAMS) watch(watched, true);
  };

  /** @type {(jobs: Jobs, isNew: boolean) => void} */
  function watch(jobs, isNew) {
    const areSame = jobs.size === watched.size && [...jobs.keys()].every((id) => watched.has(id));
    if (areSame && !isNew) return; // `isNew`: a new bar needs the current states.
    close();
    watched = jobs;
    const batches = batchesOf(jobs);
    const rest = batches.splice(options.transport === "polling" ? 0 : MAX_STREAMS);
    isFull = batches.length > 0 && rest.length > 0;
    closes = batches.map((batch) => connect(options, batch, receive));
    const polled = new Map(rest.flatMap((batch) => [...batch]));
    if (polled.size) closes.push(connect({ ...options, transport: "polling" }, polled, receive));
  }

  return { watch, close };
}

// Tabs, which share connections

const GATHER_MS = 50;

/**
 * Share connections with the site's other tabs: the leader has them and passes on the events.
 * @param {Options} options
 * @param {NotifyJob} notify
 */
function createTab(options, notify) {
  const id = Math.random();
  /** @type {Map<number, Jobs>} */
  const others = new Map();
  /** @type {Jobs} */
  let mine = new Map();
  /** @type {AbortController | null} */
  let left = null;
  /** @type {BroadcastChannel | null} */
  let channel = null;
  /** @type {ReturnType<typeof createConnections> | null} */
  let connections = null; // Only the leader has them.
  let timer = 0;
  let needsAll = false;

  /** @type {(jobs: Jobs, isNew: boolean) => void} */
  function setJobs(jobs, isNew) {
    mine = jobs;
    if (connections) watchSoon(isNew);
    else announce(isNew);
    if (!jobs.size) leave();
    else if (!left) enter();
  }

  function enter() {
    const { signal } = (left = new AbortController());
    const until = new Promise((resolve) => signal.addEventListener("abort", resolve));
    if (!navigator.locks) return lead(); // Without HTTPS each tab has its own connection.
    channel = new BroadcastChannel(options.key);
    channel.onmessage = ({ data }) => receive(data);
    announce(true);
    const held = () => (signal.aborted || lead(), until);
    // The lock is free as soon as its tab has left, or crashed.
    navigator.locks.request(options.key, { signal }, held).catch(() => {});
  }

  function leave() {
    left?.abort();
    channel?.close();
    connections?.close();
    clearTimeout(timer);
    left = channel = connections = null;
    others.clear();
  }

  function lead() {
    connections = createConnections(options, (...event) => {
      const [type, job, value] = event;
      if (isFinal(type, value)) for (const jobs of allJobs()) jobs.delete(job);
      channel?.postMessage({ event });
      notify(...event);
    });
    channel?.postMessage({ isAsking: true });
    watchSoon(true);
  }

  /** @param {boolean} isNew */
  function announce(isNew) {
    channel?.postMessage({ tab: id, jobs: mine, isNew });
  }

  /**
   * A message of another tab: an event, the leader's request for jobs, or a tab's jobs.
   * @param {any} message
   */
  function receive({ event, isAsking, tab, jobs, isNew }) {
    if (event) notify(.../** @type {Parameters<NotifyJob>} */ (event));
    else if (isAsking) announce(true);
    else if (connections) {
      others.set(tab, jobs);
      watchSoon(isNew);
    }
  }

  const allJobs = () => [...others.values(), mine];

  /** @param {boolean} isNew */
  function watchSoon(isNew) {
    needsAll ||= isNew;
    clearTimeout(timer);
    timer = setTimeout(() => {
      connections?.watch(new Map(allJobs().flatMap((jobs) => [...jobs])), needsAll);
      needsAll = false;
    }, GATHER_MS);
  }

  return setJobs;
}

/** @param {Options} options */
function createGroup(options) {
  /** @type {Set<{ job: string, reference: string, notify: NotifyBar }>} */
  const bars = new Set();
  const setJobs = createTab(options, (type, id, value) => {
    for (const bar of [...bars]) if (bar.job === id) bar.notify(type, value);
  });
  /** @param {boolean} isNew */
  const update = (isNew) => {
    const jobs = isShown ? [...bars] : [];
    setJobs(new Map(jobs.map(({ job, reference }) => [job, reference])), isNew);
  };
  return { bars, update };
}

/** @type {Map<string, ReturnType<typeof createGroup>>} */
const groups = new Map();
let isShown = !document.hidden;

/** @param {boolean} isNowShown */
function setShown(isNowShown) {
  if (isShown === isNowShown) return;
  isShown = isNowShown;
  for (const { bars, update } of groups.values()) {
    update(true);
    for (const bar of [...bars]) bar.notify("shown", isShown);
  }
}
addEventListener("visibilitychange", () => setShown(!document.hidden), true);
// An open connection keeps a page out of the back/forward cache.
addEventListener("pagehide", () => setShown(false));
addEventListener("pageshow", () => setShown(!document.hidden));

/**
 * Notify a bar of its job's events.
 * @type {(dataset: DOMStringMap, notify: NotifyBar) => Close}
 */
function subscribe({ job = "", stream = "", websocket, transport }, notify) {
  const url = new URL(stream, document.baseURI); // …/jobs/<reference>/stream/
  const base = new URL("../../../", url).href;
  const key = `import-progress ${base} ${transport}`;
  const group = groups.get(key) ?? createGroup({ key, base, websocket, transport });
  groups.set(key, group);
  const bar = { job, reference: url.pathname.split("/").at(-3) ?? "", notify };
  group.bars.add(bar);
  group.update(true);
  if (!isShown) notify("shown", false);
  return () => {
    if (group.bars.delete(bar)) group.update(false);
  };
}

// The element

const TICK_MS = 15000;
const MAX_TIMER_MS = 2 ** 31 - 1;

/** A time limit that counts only while it runs. */
class Countdown {
  #left;
  #then;
  /** @type {number | null} */
  #since = null;
  #timer = 0;

  /** @param {number} milliseconds @param {() => void} then */
  constructor(milliseconds, then) {
    this.#left = milliseconds;
    this.#then = then;
  }

  /** @param {boolean} isOn */
  run(isOn) {
    if (isOn === (this.#since !== null)) return;
    clearTimeout(this.#timer);
    const now = performance.now();
    if (isOn) this.#timer = setTimeout(this.#then, Math.min(this.#left, MAX_TIMER_MS));
    else this.#left -= now - Number(this.#since);
    this.#since = isOn ? now : null;
  }
}

class ImportProgress extends HTMLElement {
  static observedAttributes = ["data-stream"];
  #state = initialState({}, null, 0);
  #wasConnected = false;
  /** @type {Close | null} */
  #unsubscribe = null;
  /** @type {Countdown | null} */
  #waitingLimit = null;
  #tick = 0;

  constructor() {
    super();
    this.addEventListener("click", ({ target }) => {
      const button = /** @type {Element} */ (target).closest("[data-do]");
      this.#act(button?.getAttribute("data-do"));
    });
    this.addEventListener("keydown", ({ key }) => key === "Escape" && this.#act("keep"));
  }

  connectedCallback() {
    const { dataset } = this;
    this.#wasConnected = true;
    this.#state = initialState(dataset, this.querySelector("progress"), performance.now());
    this.#renderButtons();
    const { job, waitingSeconds } = dataset;
    const giveUp = () => this.#receive("missing", { job_id: job });
    const milliseconds = Number(waitingSeconds) * 1000;
    this.#waitingLimit = waitingSeconds ? new Countdown(milliseconds, giveUp) : null;
    if (!this.#state.isOver) this.#unsubscribe = subscribe(dataset, this.#receive);
    this.#runTimers();
  }

  disconnectedCallback() {
    this.#unsubscribe?.();
    this.#unsubscribe = null;
    this.#runTimers();
  }

  /** A script that morphs the page may turn this bar into another job's. */
  attributeChangedCallback() {
    if (!this.#wasConnected) return;
    this.disconnectedCallback();
    if (this.isConnected) this.connectedCallback();
  }

  /** @type {NotifyBar} */
  #receive = (type, value) => {
    const id = "import-progress-texts-";
    const block = // Of another language if the page has none of the bar's.
      document.getElementById(id + this.dataset.language) ??
      document.querySelector(`[id^=${id}]`);
    const texts = JSON.parse(block?.textContent ?? "{}");
    const label = this.getAttribute("aria-label") ?? "";
    const state = reduce(this.#state, type, value, texts, label, performance.now());
    this.#state = state;
    this.#render(state);
    this.#runTimers();
    if (type === "job") this.#dispatch("change", value);
    if (!this.#state.isOver || !this.#unsubscribe) return;
    this.disconnectedCallback();
    this.#dispatch("end", value);
  };

  /** Start or stop the timers, which run only while the page is shown. */
  #runTimers() {
    const { status, isOffline, isHidden, since } = this.#state;
    const isLive = Boolean(this.#unsubscribe) && !isHidden;
    this.#waitingLimit?.run(isLive && !isOffline && status === "waiting");
    clearTimeout(this.#tick);
    if (isLive && since !== null) this.#tick = setTimeout(() => this.#receive("tick"), TICK_MS);
  }

  /** @param {Shown} state */
  #render({ status, notice, waited, percent, parts }) {
    const seconds = waited === null ? "" : String(Math.floor(waited));
    for (const [name, value] of Object.entries({ status, notice, waited: seconds })) {
      if (value) this.dataset[name] = value;
      else delete this.dataset[name];
    }
    const bar = this.querySelector("progress");
    if (percent === null) bar?.removeAttribute("value");
    else if (bar) bar.value = Number(percent);
    // A template may leave out parts.
    if (!this.#part("[data-show=notice]")) parts.status = parts.notice || parts.status;
    for (const name in parts) {
      const part = this.#part(`[data-show=${name}]`);
      if (part && part.textContent !== parts[name]) part.textContent = parts[name];
    }
    this.#renderButtons();
  }

  #renderButtons() {
    const { canCancel } = this.#state;
    const [button, question] = this.#buttons;
    if (!button || !question) return;
    const hadFocus = this.contains(document.activeElement);
    if (!canCancel) question.hidden = true;
    button.hidden = !canCancel || !question.hidden;
    if (!hadFocus || document.activeElement?.checkVisibility?.() !== false) return;
    this.tabIndex = -1; // Otherwise the focus would be lost.
    this.focus();
  }

  /** @param {string | null | undefined} action */
  #act(action) {
    const [button, question] = this.#buttons;
    if (!action || !question || (action === "keep" && question.hidden)) return;
    if (action === "cancel") this.#cancel(question.dataset);
    question.hidden = action !== "ask";
    this.#renderButtons();
    if (action === "ask") this.#part("[data-do=keep]")?.focus();
    if (action === "keep") button?.focus();
  }

  /** @param {DOMStringMap} names */
  async #cancel({ csrf = "", csrfHeader = "X-CSRFToken", csrfCookie = "csrftoken" }) {
    this.#receive("cancelling");
    const url = new URL("../cancel/", new URL(this.dataset.stream ?? "", document.baseURI));
    const post = async () => {
      // A login in another tab replaces the token. A sandboxed frame has no cookies, but an error.
      const cookie = document.cookie.match(`(?:.*; |^)${csrfCookie}=([^;]+)`)?.[1];
      return fetch(url, { method: "POST", headers: { [csrfHeader]: cookie ?? csrf } });
    };
    const response = await post().catch(() => null);
    // The result is received over the stream; 409 means that the job has ended.
    if (!response?.ok && response?.status !== 409 && !this.#state.isOver) this.#receive("refused");
  }

  get #buttons() {
    return [this.#part("[data-do=ask]"), this.#part("[data-csrf]")];
  }

  /** @type {(selector: string) => HTMLElement | null} */
  #part(selector) {
    return this.querySelector(selector);
  }

  /** @param {string} type @param {unknown} detail */
  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(`import-progress:${type}`, { bubbles: true, detail }));
  }
}

customElements.get("import-progress") ?? customElements.define("import-progress", ImportProgress);
