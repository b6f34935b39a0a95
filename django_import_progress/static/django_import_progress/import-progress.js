// The live bar of a job: see docs/architecture.md.

const MAX_TIME_LEFT_S = 3 * 86400;
const UNSTARTED_S = 60;
/** @type {WaitUnits} */
const UNITS = [
  ["days", 172800, 86400],
  ["hours", 3600, 3600],
  ["minutes", 60, 60],
  ["seconds", 15, 15, 15],
];

/** @type {IsNumber} */
const isNumber = (value) => typeof value === "number";
/** @type {AsNumber} */
const asNumber = (value) =>
  typeof value === "string" && /^-?\d{1,15}(\.\d{1,15})?(E[+-]?\d)?$/.test(value)
    ? Number(value)
    : value;
// As in kinds.py.
const SAFE_URL = /^(https?:\/\/(?=[^/?#])|\/(?!\/))[^\s\\\x00-\x20\x7f-\xa0]*$/i;
const SEPARATOR = " · ";
/** @type {AsText} */
const asText = (value) =>
  Object(value) === value
    ? Object.entries(value)
        .map(([name, item]) => (Array.isArray(value) ? "" : `${name}: `) + asText(item))
        .join(SEPARATOR)
    : String(value ?? "");
const join = (texts = [""]) => texts.map((text) => text.replaceAll(" ", "\xa0")).join(SEPARATOR);
/** @type {Quarter} */
const quarter = (percent) => Math.floor(Number(percent) / 25);
/** @type {IsTerminal} */
const isTerminal = (status) => ["done", "failed", "cancelled"].includes(status);

/** @type {IsFinal} */
const isFinal = (type, value) =>
  type === "gone" || type === "missing" || (type === "job" && isTerminal(value.status));

/** @type {InitialState} */
export function initialState({ status = "", notice, waited, kind = "" }, bar, at) {
  const isOver = isTerminal(status) || status === "gone";
  const percent = bar && bar.position >= 0 ? bar.value : null;
  const since = waited === undefined ? null : at - Number(waited) * 1000;
  const announced = notice ? [notice] : [];
  return { status, percent, since, announced, isOver, kind };
}

/** @type {Reduce} */
export function reduce(before, type, value, pageTexts, label, at) {
  const now = { ...before, ...EFFECTS[type](value, before, at), isOver: isFinal(type, value) };
  const { job, status, percent, isOver } = now;
  const { kinds = {} } = pageTexts;
  const kind = asText(job?.kind) || before.kind || "import";
  const texts = { ...pageTexts, ...kinds[Object.hasOwn(kinds, kind) ? kind : "task"] };
  const waited = isNumber(now.since) ? (at - now.since) / 1000 : null;
  const notices = isOver ? [] : noticesOf(now, waited);
  const [notice = ""] = notices;
  const { announced } = before;
  const parts = job ? partsOf(job, texts) : {};
  if (notice || isOver) parts.pace = "";
  if (isTerminal(status)) parts.pace = timeEnded(job, texts);
  if (isNumber(percent))
    parts.percent = fill(texts.percent, { percent: Math.floor(percent) });
  parts.status =
    (now.isMissing && texts.missing) ||
    (status === "done" && texts.outcomes?.[String(job?.outcome)]) ||
    named(texts.statuses, status);
  parts.waited = waited === null ? "" : timeWaited(waited, texts);
  parts.notice = named(texts.notices, notice);
  let news = isOver ? [parts.status, parts.error].filter(Boolean).join(". ") : "";
  if (!isOver && before.job && quarter(percent) > quarter(before.percent)) news = parts.percent;
  if (notice && !announced.includes(notice)) news = parts.notice;
  parts.news = news && fill(texts.news, { label, news });
  now.announced = notices.filter((name) => name === notice || announced.includes(name));
  return { ...now, waited, notice, parts };
}

/** @type {Effects} */
const EFFECTS = {
  job: (job, before, at) => ({
    job,
    status: typeof job.status === "string" && job.status ? job.status : "waiting",
    percent: job.percent,
    ...(job.status !== "queued" ? { since: null } : before.status !== "queued" && { since: at }),
    isOffline: false,
    isExpired: false,
    isCancelling: false,
  }),
  gone: () => ({ status: "gone", since: null }),
  missing: () => ({ status: "gone", isMissing: true }),
  offline: (isOffline) => ({ isOffline }),
  tick: () => ({}),
  expired: (_, { status }) => ({ isExpired: status !== "waiting" }),
  cancelling: () => ({ isCancelling: true, isRefused: false }),
  refused: () => ({ isCancelling: false, isRefused: true }),
};

/** @type {NoticesOf} */
function noticesOf({ job, isExpired, isOffline, isRefused, isCancelling }, waited) {
  const all = {
    expired: isExpired,
    offline: isOffline,
    refused: isRefused,
    stalled: job?.stalled,
    cancelling: isCancelling || job?.cancelling,
    unstarted: Number(waited) >= UNSTARTED_S,
  };
  return Object.entries(all).flatMap(([name, isTrue]) => (isTrue ? name : []));
}

/** @type {PartsOf} */
function partsOf(job, texts) {
  const names = ["processed_rows", "total_rows", "rows_per_second", "eta_seconds"];
  const [processed, total, rate, seconds] = names.map((name) => asNumber(job[name]));
  /** @type {Counted} */
  const counted = (name, count) =>
    isNumber(count) && count > 0 ? [plural(texts, name, count, { count })] : [];
  const rejected = asNumber(job.rejected_rows);
  const counts = counted("rejected", rejected);
  if (counts[0] && isTerminal(job.status))
    counts.unshift(...counted(texts.accepted ?? "", Number(processed) - Number(rejected)));
  counts.push(...(texts.counters ?? []).flatMap((name) => counted(name, asNumber(job[name]))));
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
  const { text, url } = Object(isTerminal(job.status) && job.link);
  const link = SAFE_URL.test(asText(url)) ? asText(text) : "";
  return {
    link,
    url: link && asText(url),
    stage: asText(job.stage),
    percent: "",
    rows,
    counts: join(counts),
    pace: join(pace),
    error: asText(job.error_message),
  };
}

/** @type {TimeEnded} */
function timeEnded(job, { ended, took, offset }) {
  const end = Date.parse(job.ended_at || job.updated_at);
  const all = end - Date.parse(job.started_at);
  const time = new Date(end + offset).toJSON()?.slice(0, 16).replace("T", " ");
  const duration = Math.floor(all / 36e5) + new Date(all).toJSON()?.slice(13, 19);
  return time ? fill(all >= 0 ? took : ended, { time, duration }) : "";
}

/** @type {TimeText} */
function timeLeft(seconds, texts) {
  const format = (name = "", count = 0, more = {}) =>
    plural(texts, name, count, { count, ...more });
  if (seconds <= 60) return format("seconds", Math.ceil(seconds));
  const all = Math.ceil(seconds / 60);
  if (seconds <= 3600) return format("minutes", all);
  const [hours, rest] = [Math.floor(all / 60), all % 60];
  if (!rest) return format("hours", hours);
  return format("hours_and", hours, { minutes: format("and_minutes", rest) });
}

/** @type {TimeText} */
function timeWaited(seconds, texts) {
  const units = UNITS.find(([, atLeast]) => seconds >= atLeast);
  const [unit, , size, counts = 1] = units ?? ["", 0, 1];
  const count = Math.floor(seconds / size) * counts;
  return unit && plural(texts, `waited_${unit}`, count, { count });
}

/** @type {Plural} */
function plural(texts, name, number, values) {
  const [rule, ...forms] = texts.plurals?.[name] ?? [0];
  const count = Math.abs(Math.ceil(number));
  const sample = count < 200 ? count : count % 1e6 ? 100 + (count % 100) : 200;
  return fill(forms[Number(texts.rules?.[rule][sample])], values, texts);
}

/** @type {Named} */
const named = (names, name) => (names && Object.hasOwn(names, name) ? names[name] : name);

/** @type {Fill} */
function fill(pattern, values, { decimal = ".", separator = "", groups = "$^" } = {}) {
  /** @type {AsText} */
  const text = (value) => {
    if (!isNumber(value)) return value;
    const [whole, fraction] = String(value).split(".");
    return whole.replace(new RegExp(groups, "g"), separator) + (fraction ? decimal + fraction : "");
  };
  const filled = pattern?.replace(/\{(\w+)\}/g, (_, name) => text(values[name]));
  return filled ?? Object.values(values).join(" / ");
}

// Transports

const MAX_JOBS = 100;
const MAX_QUERY = 7800; // nginx accepts 8 KiB.
const AND = "&job=";
const POLL_MS = 2000;
const MAX_POLL_MS = 8000;
const TURN_MS = 2000;

/** @type {Transport} */
function sse({ base }, jobs, receive) {
  const references = [...jobs.values()];
  const several = `stream/?job=${references.join(AND)}`;
  const source = new EventSource(
    base + (references.length > 1 ? several : `jobs/${references}/stream/`)
  );
  source.onopen = () => receive("open", true);
  source.onmessage = ({ data }) => receive("job", JSON.parse(data));
  source.addEventListener("gone", ({ data }) => receive("gone", JSON.parse(data)));
  source.addEventListener("end", () => receive("fail"));
  source.onerror = () =>
    receive(source.readyState === EventSource.CLOSED ? "fail" : "open", false);
  return () => source.close();
}

/** @type {Transport} */
function websocket(options, jobs, receive) {
  const url = urlOf(options.websocket);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  socket.onopen = () => {
    for (const job of jobs.values()) socket.send(JSON.stringify({ action: "watch", job }));
    receive("open", true);
  };
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if ("percent" in message) receive("job", message);
    else if (message.gone) receive("gone", message);
    else receive("expired", { job_id: message.job });
  };
  socket.onclose = () => receive("fail");
  return () => {
    socket.onmessage = socket.onclose = null;
    socket.close();
  };
}

/** @type {Transport} */
function polling(options, jobs, receive) {
  const stop = new AbortController();
  const { signal } = stop;
  const absences = new Map();
  let pause = POLL_MS;

  async function request(id = "", reference = "") {
    const response = await fetch(`${options.base}jobs/${reference}/`, { signal }).catch(
      () => null
    );
    const found = response?.ok && (await response.json().catch(() => null));
    if (signal.aborted) return;
    if (found) {
      absences.set(id, 0);
      receive("job", found);
    }
    if (response?.status !== 404) return found && 200;
    const count = absences.get(id);
    if (count === undefined) receive("expired", { job_id: reference });
    else absences.set(id, count + 1);
    if (count) receive("gone", { job_id: id });
    return 404;
  }

  const requestAll = (batch = jobs) =>
    new Promise((resolve) => {
      const missing = new Set(batch.keys());
      const end = () => {
        close();
        resolve(missing.size < batch.size);
      };
      const close = sse(options, batch, (type, value) => {
        if (type === "fail" || value === false) return end();
        receive(type, value);
        if (missing.delete(value.job_id) && !missing.size) end();
      });
      signal.onabort = end;
      setTimeout(end, TURN_MS);
    });

  async function poll() {
    const statuses = [];
    let { inTurn } = options;
    for (const batch of batchesOf(jobs)) {
      if (signal.aborted) return;
      inTurn &&= Boolean(await requestAll(batch));
      if (inTurn) statuses.push(200);
      else for (const [id, reference] of batch) statuses.push(await request(id, reference));
    }
    if (signal.aborted) return;
    receive("open", statuses.some(Boolean));
    pause = statuses.includes(200) ? POLL_MS : Math.min(pause * 2, MAX_POLL_MS);
    setTimeout(poll, pause * (0.75 + Math.random() / 2));
  }

  poll();
  return () => stop.abort();
}

function batchesOf(jobs = new Map()) {
  let batch = new Map();
  let length = 0;
  const batches = [batch];
  for (const [id, reference] of jobs) {
    length += AND.length + reference.length;
    if (length > MAX_QUERY || batch.size === MAX_JOBS) {
      length = AND.length + reference.length;
      batches.push((batch = new Map()));
    }
    batch.set(id, reference);
  }
  return batches;
}

// Fallback

/** @type {Transports} */
const STREAMS = { sse, websocket };
const MAX_STREAMS = 2;
const RETRY_MS = 1000;
const MAX_RETRY_MS = 30000;
const STREAM_TIMEOUT_MS = 2000;
const OFFLINE_MS = 3000;
const CHECK_MS = 5000;
const SILENCE_MS = 60000;

const nothing = () => {};

/** @type {Connect} */
function connect(options, jobs, notify) {
  const transport = options.inTurn ? "polling" : options.transport;
  const all = options.websocket ? [sse, websocket] : [sse];
  const streams = transport ? [STREAMS[transport]] : all;
  const canPoll = !transport || transport === "polling";
  const timers = new Map();
  let stopStream = nothing;
  let stopPolling = nothing;
  let isStreaming = false;
  let isPolling = false;
  let isDue = false;
  /** @type {boolean?} */
  let isOffline = null;
  let failures = 0;
  let receivedAt = 0;

  function start(name = "", milliseconds = 0, then = nothing) {
    if (timers.has(name)) return;
    timers.set(name, setTimeout(() => timers.delete(name) && then(), milliseconds));
  }

  function stop(name = "") {
    clearTimeout(timers.get(name));
    timers.delete(name);
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
    for (const name of timers.keys()) stop(name);
  }

  function checkSilence() {
    if (Date.now() - receivedAt > SILENCE_MS) open();
    else start("silence", CHECK_MS, checkSilence);
  }

  function checkOffline() {
    const set = (value = true) => {
      if (isOffline === value) return;
      isOffline = value;
      for (const id of [...jobs.keys()]) notify("offline", id, value);
    };
    if (isStreaming || isPolling) {
      stop("offline");
      set(false);
    } else start("offline", OFFLINE_MS, set);
  }

  const startTimeout = () =>
    canPoll &&
    start("timeout", STREAM_TIMEOUT_MS, () => (isStreaming && options.isAlone ? poll() : fail()));

  function fail() {
    stop("timeout");
    closeStream();
    if (++failures >= streams.length) poll();
    checkOffline();
    const pause = Math.min(RETRY_MS * 2 ** (failures - 1), MAX_RETRY_MS);
    start("retry", pause * (0.5 + Math.random() / 2), () => {
      isDue = stopPolling !== nothing;
      if (!isDue) openStream();
    });
  }

  function openStream() {
    const openTransport = streams[failures % streams.length];
    if (!openTransport) return poll();
    isDue = false;
    stopPolling();
    stopPolling = nothing;
    startTimeout();
    stopStream = openTransport(options, jobs, (type, value) => {
      if (type === "open") {
        isStreaming = value;
        if (!value) startTimeout();
        checkOffline();
      } else if (type === "fail") fail();
      else {
        failures = 0;
        stop("timeout");
        closePolling();
        receive(type, value);
      }
    });
  }

  function closeStream() {
    stopStream();
    stopStream = nothing;
    isStreaming = false;
  }

  function poll() {
    if (!canPoll || stopPolling !== nothing) return;
    stopPolling = polling(options, jobs, (type, value) => {
      isPolling = type !== "open" || value;
      if (type === "open" && isDue) openStream();
      checkOffline();
      if (type !== "open" && (type !== "expired" || !isStreaming)) receive(type, value);
    });
  }

  function closePolling() {
    stopPolling();
    stopPolling = nothing;
    isPolling = false;
  }

  /** @type {NotifyBar} */
  function receive(type, value) {
    receivedAt = Date.now();
    for (const [id, reference] of jobs) {
      if (value.job_id !== id && value.job_id !== reference) continue;
      const event = type === "gone" && value.job_id !== id ? "expired" : type;
      if (isFinal(event, value)) jobs.delete(id);
      notify(event, id, value);
    }
    if (!jobs.size) close();
  }

  open();
  return close;
}

/** @type {CreateConnections} */
function createConnections(options, notify) {
  let watched = new Map();
  let parts = [watched];
  let closes = [nothing];
  let isFull = false;

  const close = () => closes.forEach((end) => end());

  /** @type {NotifyJob} */
  const receive = (type, id, value) => {
    notify(type, id, value);
    if (!isFinal(type, value)) return;
    watched.delete(id);
    if (isFull && batchesOf(watched).length <= MAX_STREAMS) watch();
  };

  function watch(jobs = watched, isNew = true) {
    const areSame = jobs.size === watched.size && [...jobs.keys()].every((id) => watched.has(id));
    if (areSame && !isNew) {
      for (const part of parts) for (const id of part.keys()) part.set(id, jobs.get(id));
      return;
    }
    close();
    watched = jobs;
    parts = options.transport === "polling" ? [new Map(jobs)] : batchesOf(jobs);
    isFull = parts.length > MAX_STREAMS;
    if (isFull) parts.push(new Map(parts.splice(1).flatMap((part) => [...part])));
    const isAlone = !parts[1];
    closes = parts.map((part, n) =>
      connect({ ...options, isAlone, inTurn: isFull && n > 0 }, part, receive)
    );
  }

  return { watch, close };
}

// Groups of bars, and tabs

const GATHER_MS = 50;
const ALIVE_MS = 2000;
const SILENT_LEADER_MS = 5000;

const dateOf = (reference = "") => (reference[0] === "@" && reference.split(/:|%3A/).at(-2)) || "";

/** @type {CreateGroup} */
function createGroup(options) {
  /** @type {Set<Bar>} */
  const bars = new Set();
  const newest = new Map();
  let mine = new Map();
  /** @type {Session?} */
  let session = null;

  function update(isNew = true) {
    const shown = isShown ? [...bars] : [];
    mine = merged(shown.map(({ dataset }) => new Map([[dataset.job, referenceIn(dataset.stream)]])));
    if (mine.size) (session ??= createSession()).watchSoon(isNew);
    else {
      session?.leave();
      session = null;
    }
  }

  function merged(tabs = [mine]) {
    const jobs = new Map();
    for (const tab of tabs) {
      for (const [job, reference] of tab) {
        if (dateOf(newest.get(job)) <= dateOf(reference)) newest.set(job, reference);
        jobs.set(job, newest.get(job));
      }
    }
    return jobs;
  }

  /** @type {NotifyJob} */
  function notify(type, job, value) {
    for (const bar of [...bars]) if (bar.dataset.job === job) bar.notify(type, value);
  }

  function createSession(isAlone = false) {
    const id = Math.random();
    const others = new Map();
    const stop = new AbortController();
    const { signal } = stop;
    /** @type {BroadcastChannel?} */
    let channel = null;
    /** @type {Connections?} */
    let connections = null;
    let isLeader = false;
    let served = [NaN];
    let [gathering, life] = [0, 0];
    let needsAll = true;

    const post = (message = {}) => channel?.postMessage(message);

    async function enter() {
      const lead = () =>
        signal.aborted ||
        new Promise((resolve) => {
          signal.onabort = resolve;
          isLeader = true;
          openConnections();
          beat();
        });
      try {
        channel = new BroadcastChannel(options.key);
        channel.onmessage = ({ data }) => receive(data);
        await navigator.locks.request(options.key, { signal }, lead);
      } catch {
        channel?.close();
        channel = null;
        lead();
      }
    }

    function leave() {
      stop.abort();
      post({ tab: id, jobs: new Map(), isNew: false });
      channel?.close();
      connections?.close();
      clearTimeout(gathering);
      clearTimeout(life);
    }

    function openConnections() {
      connections ??= createConnections(options, (...event) => {
        const [type, job, value] = event;
        if (isFinal(type, value)) for (const jobs of [mine, ...others.values()]) jobs.delete(job);
        if (isLeader) post({ event });
        notify(...event);
      });
      watchSoon();
    }

    function beat() {
      clearTimeout(life);
      post({ served });
      life = setTimeout(beat, ALIVE_MS);
    }

    function follow() {
      connections?.close();
      connections = null;
      clearTimeout(life);
      life = setTimeout(() => {
        leave();
        session = createSession(true);
      }, SILENT_LEADER_MS);
    }

    /** @param {Message} message */
    function receive({ event, served: tabs, tab, jobs, isNew }) {
      if (event && !connections) notify(...event);
      if (tabs?.includes(id)) follow();
      else if (tabs) post({ tab: id, jobs: mine });
      if (!jobs) return;
      merged([jobs]);
      if (!isLeader) return;
      if (jobs.size) others.set(tab, jobs);
      else others.delete(tab);
      watchSoon(isNew);
    }

    function watchSoon(isNew = true) {
      needsAll ||= isNew;
      gathering ||= setTimeout(() => {
        gathering = 0;
        connections?.watch(merged([mine, ...others.values()]), needsAll);
        served = [...others.keys()];
        if (isLeader) beat();
        else post({ tab: id, jobs: mine, isNew: needsAll });
        needsAll = false;
      }, GATHER_MS);
    }

    if (isAlone) openConnections();
    else follow();
    enter();
    return { watchSoon, leave };
  }

  return { bars, update };
}

const groups = new Map();
let isShown = !document.hidden;

const urlOf = (url = "", path = "") => new URL(path, new URL(url, document.baseURI));

const referenceIn = (url = "") => urlOf(url).pathname.split("/").at(-3);

/** @type {GroupOf} */
function groupOf({ stream, websocket, transport }) {
  const base = urlOf(stream, "../../../").href;
  const key = `import-progress ${base} ${transport}`;
  const group = groups.get(key) ?? createGroup({ key, base, websocket, transport });
  groups.set(key, group);
  return group;
}

const updateAll = () => groups.forEach(({ update }) => update());

function setShown(isNowShown = !document.hidden) {
  if (isShown === isNowShown) return;
  isShown = isNowShown;
  updateAll();
  for (const { bars } of groups.values()) for (const { notify } of [...bars]) notify("tick");
}
addEventListener("visibilitychange", () => setShown(), true);
addEventListener("pagehide", () => setShown(false));
addEventListener("pageshow", () => setShown());
addEventListener("online", updateAll);

// The element

const TICK_MS = 15000;
const SETTLE_MS = 100;

class ImportProgress extends HTMLElement {
  #state = initialState({}, null, 0);
  /** @type {Group?} */
  #group = null;
  /** @type {Bar} */
  #bar = { dataset: this.dataset, notify: (...event) => this.#receive(...event) };
  #job = this.dataset.job;
  #isAsking = false;
  #hasEnded = false;
  #timer = 0;
  #isWaiting = false;
  #waitingLeft = 0;
  #at = 0;
  #observer = new MutationObserver(() => this.#onMorph());

  constructor() {
    super();
    this.addEventListener("click", ({ target }) => {
      this.#act(/** @type {any} */ (target).closest("[data-do]")?.dataset.do);
    });
    this.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#isAsking) return;
      event.preventDefault();
      event.stopPropagation();
      this.#act("keep");
    });
  }

  connectedCallback() {
    const { job, waitingSeconds = Infinity } = this.dataset;
    this.#state = initialState(this.dataset, this.querySelector("progress"), performance.now());
    if (job !== this.#job) this.#hasEnded = false;
    this.#job = job;
    this.#waitingLeft = Number(waitingSeconds) * 1000;
    this.#renderButtons();
    const attributeFilter = ["data-job", "data-stream", "data-status", "hidden"];
    this.#observer.observe(this, { attributeFilter, subtree: true });
    if (this.#state.isOver) this.#endInitially();
    else {
      this.#group = groupOf(this.dataset);
      this.#group.bars.add(this.#bar);
      this.#group.update();
    }
    this.#runTimers();
  }

  disconnectedCallback() {
    this.#observer.disconnect();
    this.#unsubscribe();
  }

  #unsubscribe() {
    if (this.#group?.bars.delete(this.#bar)) this.#group.update(false);
    this.#group = null;
    this.#runTimers();
  }

  #onMorph() {
    const { isOver, isExpired } = this.#state;
    const { isOver: isNowOver } = initialState(this.dataset, null, 0);
    const group = isNowOver ? null : groupOf(this.dataset);
    if (this.dataset.job !== this.#job || group !== this.#group || isNowOver !== isOver) {
      this.disconnectedCallback();
      this.connectedCallback();
    } else if (group) {
      group.update(!!isExpired);
      this.#receive("tick");
    }
  }

  /** @type {NotifyBar} */
  #receive(type, value) {
    const id = "import-progress-texts-";
    const block =
      document.getElementById(id + this.dataset.language) ??
      document.querySelector(`[id^=${id}]`);
    const texts = JSON.parse(block?.textContent ?? "{}");
    const label = this.getAttribute("aria-label") ?? "";
    const state = reduce(this.#state, type, value, texts, label, performance.now());
    this.#state = state;
    this.#render(state);
    this.#observer.takeRecords();
    this.#runTimers();
    if (type === "job") {
      this.#hasEnded &&= state.isOver;
      this.#dispatch("change", value);
    }
    if (!this.#state.isOver || !this.#group) return;
    this.#unsubscribe();
    this.#end(value);
  }

  #endInitially(state = this.#state) {
    setTimeout(() => {
      if (this.#state !== state || !this.isConnected) return;
      const { status, percent } = state;
      // The page adds its handlers later, htmx after a swap.
      if (document.readyState !== "complete" || this.closest(".htmx-added"))
        this.#endInitially(state);
      else this.#end({ job_id: this.dataset.job, status, percent, initial: true });
    }, SETTLE_MS);
  }

  #end(detail = {}) {
    if (!this.#hasEnded) this.#dispatch("end", detail);
    this.#hasEnded = true;
  }

  #runTimers() {
    const { status, isOffline, since } = this.#state;
    const isLive = this.#group && isShown;
    const now = performance.now();
    if (this.#isWaiting) this.#waitingLeft -= now - this.#at;
    this.#at = now;
    this.#isWaiting = Boolean(isLive && !isOffline && status === "waiting");
    clearTimeout(this.#timer);
    const tick = () => {
      this.#receive("tick");
      if (this.#isWaiting && this.#waitingLeft <= 0) this.#receive("missing", { job_id: this.#job });
    };
    const left = Math.min(this.#isWaiting ? this.#waitingLeft : TICK_MS, TICK_MS);
    if (isLive && (this.#isWaiting || since !== null)) this.#timer = setTimeout(tick, left);
  }

  /** @param {Shown} state */
  #render({ status, notice, waited, percent, parts, job }) {
    const seconds = waited === null ? "" : String(Math.floor(waited));
    const rejected = (!job?.expired || job.has_report) && job?.rejected_rows;
    const shown = { status, notice, waited: seconds, outcome: job?.outcome, rejected };
    for (const [name, value] of Object.entries(shown)) {
      if (value) this.dataset[name] = asText(value);
      else delete this.dataset[name];
    }
    const report = this.#part(".import-progress-report:not([href])");
    report?.setAttribute("href", urlOf(this.dataset.stream, "../rejects/").href);
    if (parts.url) this.#part("[data-show=link]")?.setAttribute("href", parts.url);
    const bar = this.querySelector("progress");
    if (percent === null) bar?.removeAttribute("value");
    else if (bar) bar.value = Number(percent);
    if (!this.#part("[data-show=notice]")) parts.status = parts.notice || parts.status;
    for (const name in parts) {
      const part = this.#part(`[data-show=${name}]`);
      if (part && part.textContent !== parts[name]) part.textContent = parts[name];
    }
    this.#renderButtons();
  }

  #renderButtons() {
    const [button, question] = this.#buttons;
    if (!button || !question) return;
    const canCancel =
      !this.#state.isOver && !["expired", "cancelling"].includes(this.dataset.notice ?? "");
    const hadFocus = this.contains(document.activeElement);
    this.#isAsking &&= canCancel;
    question.hidden = !this.#isAsking;
    button.hidden = !canCancel || this.#isAsking;
    if (!hadFocus || document.activeElement?.checkVisibility?.() !== false) return;
    this.tabIndex = -1;
    this.focus();
  }

  #act(action = "") {
    const [button, question] = this.#buttons;
    if (!action || !question) return;
    if (action === "cancel") this.#cancel(question.dataset);
    this.#isAsking = action === "ask";
    this.#renderButtons();
    if (action === "ask") this.#part("[data-do=keep]")?.focus();
    if (action === "keep") button?.focus();
  }

  /** @param {DOMStringMap} names */
  async #cancel({ csrf = "", csrfHeader = "X-CSRFToken", csrfCookie = "csrftoken" }) {
    this.#receive("cancelling");
    const url = urlOf(this.dataset.stream, "../cancel/");
    const post = async () => {
      // A login in another tab replaces the token. A sandbox throws.
      const cookie = document.cookie.match(`(?:.*; |^)${csrfCookie}=([^;]+)`)?.[1];
      const headers = { [csrfHeader]: cookie ?? csrf };
      return fetch(url, { method: "POST", headers });
    };
    const response = await post().catch(() => null);
    const status = response?.status;
    if (status !== 202 && status !== 409 && !this.#state.isOver) this.#receive("refused");
  }

  get #buttons() {
    return [this.#part("[data-do=ask]"), this.#part("[data-csrf]")];
  }

  /** @returns {HTMLElement | null} */
  #part(selector = "") {
    return this.querySelector(selector);
  }

  #dispatch(type = "", detail = {}) {
    this.dispatchEvent(new CustomEvent(`import-progress:${type}`, { bubbles: true, detail }));
  }
}

customElements.get("import-progress") ?? customElements.define("import-progress", ImportProgress);
