// Three ways to be told of jobs, alike: (where, jobs, ears) => what ends it.

const JOBS_AT_ONCE = 100;
const LONGEST_QUERY = 7800; // nginx takes request lines of 8 KiB.
const AND = "&job=";
const PAUSE_MS = 2000;
const LONGEST_PAUSE_MS = 8000; // By chance ten seconds.
const LONGEST_SILENCE_MS = 30000;

export function sse({ base }, jobs, { job, gone, turn, fail }) {
  const references = [...jobs.values()];
  const several = `stream/?job=${references.join(AND)}`;
  const source = new EventSource(
    base + (references.length > 1 ? several : `jobs/${references}/stream/`)
  );
  source.onopen = () => turn(true);
  source.onmessage = ({ data }) => job(JSON.parse(data));
  source.addEventListener("gone", ({ data }) => gone(JSON.parse(data)));
  source.addEventListener("end", () => {
    source.close();
    fail();
  });
  source.onerror = () => {
    // The browser mends it, or has given up; we don't.
    if (source.readyState === EventSource.CLOSED) fail();
    else turn(false);
  };
  return () => source.close();
}

export function websocket(at, jobs, { job, gone, expired, turn, fail }) {
  const url = new URL(at.websocket, document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  socket.onopen = () => {
    for (const name of jobs.values()) socket.send(JSON.stringify({ action: "watch", job: name }));
    turn(true);
  };
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    // It is in each representation, and in no error.
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

/** One after the other, so that one connection will do. */
export function polling({ base }, jobs, { job, gone, expired, turn }) {
  const stop = new AbortController();
  const known = new Map();
  let pause = PAUSE_MS;
  let timer;

  async function ask(id, reference) {
    const answer = await fetch(`${base}jobs/${reference}/`, stop).catch(() => null);
    const found = answer?.ok ? await answer.json().catch(() => null) : null;
    if (stop.signal.aborted) return;
    if (found) known.set(id, 0);
    if (found) job(found);
    if (answer?.status !== 404) return found && 200;
    // Not at once: Redis may have been emptied just now.
    if (!known.has(id)) expired(reference);
    else if (known.set(id, known.get(id) + 1).get(id) > 1) gone({ job_id: id });
    return 404;
  }

  async function round() {
    const answers = [];
    for (const [id, reference] of [...jobs]) answers.push(await ask(id, reference));
    if (stop.signal.aborted) return;
    const isAnswered = answers.some(Boolean);
    turn(isAnswered);
    const longest = isAnswered ? LONGEST_PAUSE_MS : LONGEST_SILENCE_MS;
    pause = answers.includes(200) ? PAUSE_MS : Math.min(pause * 2, longest);
    timer = setTimeout(round, pause * (0.75 + Math.random() / 2));
  }

  round();
  return () => {
    clearTimeout(timer);
    stop.abort();
  };
}

/** Part jobs, so that one stream can be asked for each part. */
export function partsOf(jobs) {
  const found = [];
  let length = Infinity;
  for (const [id, reference] of jobs) {
    length += AND.length + reference.length;
    if (length > LONGEST_QUERY || found.at(-1).size === JOBS_AT_ONCE) {
      found.push(new Map());
      length = AND.length + reference.length;
    }
    found.at(-1).set(id, reference);
  }
  return found;
}
